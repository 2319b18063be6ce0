"""Endpoints: each translates between a wire format and an inference backend (`backend.py`).

The wire formats are the Open Inference Protocol and TensorFlow Serving, each over REST and gRPC.
"""
