"""The gRPC face of the Open Inference Protocol: `oip.proto` and the modules generated from it by `make proto`."""
