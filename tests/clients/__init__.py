"""Third-party clients. Each runs in its own process."""
