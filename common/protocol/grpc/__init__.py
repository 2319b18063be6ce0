"""The Protocol Buffers of the gRPC APIs, and the modules that `make proto` generates from them."""
