"""What the patterns are measured against: each one honest small file, as strong as its kind allows."""
