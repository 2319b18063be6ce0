"""One package per pattern; none imports another."""
