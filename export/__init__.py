"""Model file in, model file out, with proof; adnet-export.

Start with `to_onnx` (checkpoint to ONNX) and `to_om` (ONNX to OM, in `ascend/`);
`verify` compares values, `variants` and `quantize` make fp16, int8 and uint8 models; `ascend/` is
what CANN needs.
"""
