"""The backends that come with the package, and what each alone needs.

`ort` (ONNX Runtime) with `ort_providers`; `ov` (OpenVINO); `mnn`; `pytorch` (CPU, CUDA, NPU ...);
`om` (Ascend's OM files) with `om_model`, `om_worker`, `acl`, `acl_errors`. The registry alone
imports them, each only when it is asked for.
"""
