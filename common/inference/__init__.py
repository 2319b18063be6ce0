"""The inference data plane: sessions, micro-batching, versions, and the two protocols in front of them."""
