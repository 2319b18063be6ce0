"""The inference data backend: sessions, micro-batching, versions, and the two protocols in front of them."""
