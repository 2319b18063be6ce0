"""Wire formats: bytes to typed values and back, with no input or output of their own."""
