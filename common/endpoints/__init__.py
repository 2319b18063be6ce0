"""Wire formats in front of an inference backend: Open Inference Protocol and TensorFlow Serving, REST and gRPC."""
