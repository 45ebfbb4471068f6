"""Weights trained by this project: ONNX files and index.json (see adnet.models.shipped)."""
