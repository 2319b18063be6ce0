"""What the patterns are measured against: small files, each as fast as its kind allows."""
