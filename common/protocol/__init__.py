"""Wire formats: they decode bytes to typed values and encode typed values to bytes, without any I/O."""
