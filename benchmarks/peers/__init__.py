"""What a user would run ADNet with instead, on the CPU, to stand beside ours.

The extra `peers` installs the engines. Each one is given the float32 weights the way its own manual
says, and then once more at its own best: in bfloat16, low precision or int8 as far as it offers
them. (ncnn's wheel has no quantiser, MNN's aborts.) Names tell the setting.
"""

from __future__ import annotations

from adnet.extras import install_extra
from adnet.runtime.registry import BackendEntry

_ENGINES = install_extra("peers")
_CHECKPOINTS = (".pth", ".pt", ".onnx")

PEERS: dict[str, BackendEntry] = {
    "published-script": BackendEntry(
        "adnet.benchmarks.peers.published:Published", _CHECKPOINTS, "pip install torch onnx"
    ),
    "torch-compile": BackendEntry(
        "adnet.benchmarks.peers.published:Compiled", _CHECKPOINTS, "pip install torch onnx"
    ),
    "torch-compile-bf16": BackendEntry(
        "adnet.benchmarks.peers.published:CompiledBf16", _CHECKPOINTS, "pip install torch onnx"
    ),
    "bare-onnxruntime": BackendEntry(
        "adnet.benchmarks.peers.bare_session:BareSession", (".onnx",), "pip install onnxruntime"
    ),
    "openvino-fp32": BackendEntry(
        "adnet.benchmarks.peers.openvino_engine:OpenVino", (".onnx",), _ENGINES
    ),
    "openvino-bf16": BackendEntry(
        "adnet.benchmarks.peers.openvino_engine:OpenVinoBf16", (".onnx",), _ENGINES
    ),
    "openvino-nncf-int8": BackendEntry(
        "adnet.benchmarks.peers.openvino_engine:OpenVinoInt8", (".onnx",), _ENGINES
    ),
    "ncnn": BackendEntry("adnet.benchmarks.peers.ncnn_engine:Ncnn", (".onnx",), _ENGINES),
    "mnn-fp32": BackendEntry("adnet.benchmarks.peers.mnn_engine:Mnn", (".onnx",), _ENGINES),
    "mnn-low": BackendEntry("adnet.benchmarks.peers.mnn_engine:MnnLow", (".onnx",), _ENGINES),
}
