"""What people read in a Triton repository: its README, a Dockerfile, a manifest for KServe."""

from __future__ import annotations

from adnet import __version__
from adnet.export.triton.config import IMAGE_TYPES, Serving
from adnet.models.card import ModelCard
from adnet.shown import one_line

SERVER = "nvcr.io/nvidia/tritonserver:24.10-py3"
"""Triton 2.51, the release that the tests run."""


def dockerfile(serving: Serving) -> str:
    """Mode image needs adnet in the server's Python; mode tiles needs nothing."""
    lines = [f"FROM {SERVER}"]
    if serving.mode == "image":
        lines += [
            "# The wheel: 'pip wheel . --no-deps' in a checkout of adnet; lay it beside this file.",
            "COPY adnet-*.whl /tmp/",
            "RUN pip install --no-cache-dir /tmp/adnet-*.whl 'numpy<2'",
        ]
    lines += [
        f"COPY {serving.name} /models/{serving.name}",
        'CMD ["tritonserver", "--model-repository=/models"]',
    ]
    return "\n".join(lines) + "\n"


def kserve_manifest(serving: Serving) -> str:
    """Return an InferenceService for KServe. Nobody has run it."""
    return f"""\
# UNTESTED: written after KServe's documentation, never applied to a cluster.
# The repository lies on a volume of the cluster; mode image needs an image made with Dockerfile.
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: {serving.name.lower().replace("_", "-").strip("-")}
spec:
  predictor:
    model:
      modelFormat:
        name: triton
      protocolVersion: v2
      runtimeVersion: {SERVER.rpartition(":")[2]}
      storageUri: pvc://models/triton
"""


def readme(serving: Serving, card: ModelCard) -> str:
    """Say how the server is started and called."""
    what = f"{one_line(card.name) or 'ADNet'}, {card.describe_sigma()}, {card.channel_order}"
    head = f"""\
# {serving.name}: ADNet on Triton

Model: {what}. Mode {serving.mode}. Written by adnet {__version__}.
"""
    return head + (_image(serving) if serving.mode == "image" else _tiles(serving, card))


_PORTS = "-p 127.0.0.1:8000:8000 -p 127.0.0.1:8001:8001 -p 127.0.0.1:8002:8002"
_LAST = """
HTTP is on port 8000, gRPC on 8001, Prometheus metrics on 8002. Triton asks for no password: let
nobody reach it but through a proxy that does. `kserve.yaml` is untested.
"""


def _image(serving: Serving) -> str:
    names = ", ".join(f"`image{end}` {kind}" for end, kind in IMAGE_TYPES.items())
    return f"""
Triton's Python backend calls adnet's own `Denoiser`, so the pixels are those of adnet-run: whole
images of any size, tiles inside. adnet must be in the server's Python:

    docker build -t adnet-triton .
    docker run --rm --shm-size=1g {_PORTS} adnet-triton

A request gives one input and gets the output of that name:

* {names}, each (H, W, C), C from 1 to 4, gives `denoised`, `denoised_uint16`, `denoised_fp32`.
* `file`, BYTES of shape 1, an image file, gives `denoised_file`, with its metadata.

At most {serving.max_pixels} pixels an image. What is wrong with an image is told as INVALID_ARG;
beyond {serving.queue} waiting requests, more are told UNAVAILABLE: try again later.

    curl localhost:8000/v2/health/ready

    import numpy, tritonclient.http as triton
    client = triton.InferenceServerClient("localhost:8000")
    entry = triton.InferInput("file", [1], "BYTES")
    entry.set_data_from_numpy(numpy.array([open("noisy.png", "rb").read()], numpy.object_))
    result = client.infer("{serving.name}", [entry]).as_numpy("denoised_file")
    open("denoised.png", "wb").write(result[0])
{_LAST}"""


def _tiles(serving: Serving, card: ModelCard) -> str:
    return f"""
Triton's onnxruntime backend runs the network; whoever calls cuts the image:

    docker run --rm {_PORTS} \\
      -v "$PWD":/models {SERVER} tritonserver --model-repository=/models

A request is a batch of tiles: `image`, FP32 (N, {card.channels}, H, W), white at 1, gives
`denoised`. Tiles need {card.receptive_radius} pixels of context on each side; then the result is
that of the whole image. Triton puts up to {serving.batch} tiles of one size together; beyond
{serving.queue} waiting requests, more are told UNAVAILABLE.

`client.py` does the cutting for image files, with their metadata. It needs adnet
(`pip install .` in a checkout) and `pip install tritonclient[grpc]`:

    python client.py noisy.png denoised.png --model {serving.name}
{_LAST}"""
