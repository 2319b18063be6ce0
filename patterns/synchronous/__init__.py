"""synchronous: the caller sends a picture and waits for the answer."""
