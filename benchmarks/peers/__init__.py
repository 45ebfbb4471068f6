"""What a user would run ADNet with instead, on the CPU in float32, to stand beside ours.

The extra `peers` installs the engines. Each one is given the weights the way its own manual says,
and no more tuning than a number of threads where one is asked for.
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
    "bare-onnxruntime": BackendEntry(
        "adnet.benchmarks.peers.bare_session:BareSession", (".onnx",), "pip install onnxruntime"
    ),
    "openvino": BackendEntry(
        "adnet.benchmarks.peers.openvino_engine:OpenVino", (".onnx",), _ENGINES
    ),
    "ncnn": BackendEntry("adnet.benchmarks.peers.ncnn_engine:Ncnn", (".onnx",), _ENGINES),
    "mnn": BackendEntry("adnet.benchmarks.peers.mnn_engine:Mnn", (".onnx",), _ENGINES),
}
