"""What is exported: ONNX files of ours are looked at before they are passed on."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path


def check_onnx(path: Path) -> None:
    """Refuse an ONNX file whose card and weights do not go together, as far as onnx is installed.

    The base install has ONNX Runtime alone, which only compares the channels.

    Raises:
        ModelError: there is no card, or the file was changed.
    """
    if find_spec("onnx") is not None:
        from adnet.models.onnx_check import check_weights  # noqa: PLC0415
        from adnet.models.onnx_file import read_onnx  # noqa: PLC0415

        check_weights(read_onnx(path), path)
