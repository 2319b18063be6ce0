"""The inference engine: the manifest of a model, its ONNX Runtime session, micro-batching and the model repository."""
