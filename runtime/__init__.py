"""Model file and image in, image out. Needs no torch for ONNX Runtime or OM models."""
