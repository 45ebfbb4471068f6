"""What `to_om` needs to convert for Ascend chips: with CANN's ATC here, or elsewhere.

Start with `atc_config` (options to ATC's arguments) and `atc_run`; `atc_errors` explains failures,
`soc` and `soc_names` know the chips, `cann_install` finds CANN, `kit` writes a folder that converts
itself, `verify_om` compares the result with its ONNX on a device.
"""
