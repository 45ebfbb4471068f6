"""Say by its content what kind of model file a path is; needs neither torch nor onnx."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import BinaryIO, Literal

from adnet.errors import ModelError

Kind = Literal["checkpoint", "onnx", "om"]

TITLES: dict[Kind, str] = {
    "checkpoint": "a PyTorch checkpoint",
    "onnx": "an ONNX model",
    "om": "an OM, a model converted for Ascend",
}
"""What to call a kind in a message."""

_SUFFIXES: dict[Kind, tuple[str, ...]] = {
    "checkpoint": (".pth", ".pt"),
    "onnx": (".onnx",),
    "om": (".om",),
}
_REMEDIES: dict[Kind, str] = {
    "checkpoint": "Give the checkpoint or the ONNX file that it was made from.",
    "onnx": "Give an ONNX file; 'adnet-export onnx CHECKPOINT -o FILE.onnx' makes one.",
    "om": "Give an OM; 'adnet-export om MODEL -o FILE.om' makes one.",
}

_ZIP = b"PK\x03\x04"
_ZIP_NAME = 30  # where the name of the first member begins
_PICKLES = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))
"""What torch wrote before 1.6, and any other pickle."""

_VARINT, _BYTES = 0, 2  # wire types of protobuf
_ONNX_FIELDS = {
    1: _VARINT, 2: _BYTES, 3: _BYTES, 4: _BYTES, 5: _VARINT, 6: _BYTES, 7: _BYTES, 8: _BYTES,
    14: _BYTES, 20: _BYTES, 25: _BYTES, 26: _BYTES,
}  # fmt: skip
"""Fields of ONNX's ModelProto (onnx.proto) and how each is encoded."""
_ONNX_VERSION, _ONNX_GRAPH = 1, 7


def kind_of_file(path: Path) -> Kind | None:
    """Look at the content, not at the name; truncated files are what they were.

    Returns:
        None when it is none of them.

    Raises:
        ModelError: the file is missing or cannot be read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(4)
            if start == b"IMOD":
                return "om"
            if start.startswith(_PICKLES) or (start == _ZIP and _is_of_torch(file)):
                return "checkpoint"
            return "onnx" if _is_onnx(file) else None
    except OSError as err:
        raise ModelError(f"{path}: cannot be read: {err.strerror}.") from err


def require_kind(path: Path, expected: Kind) -> None:
    """Refuse a model file of another kind; what is none at all is left to its reader.

    Raises:
        ModelError: saying what the file is instead, or that it cannot be read.
    """
    kind = kind_of_file(path)
    if kind not in (None, expected):
        raise ModelError(wrong_kind(path, kind, expected))


def wrong_kind(path: Path, kind: Kind, expected: Kind) -> str:
    """Say that a file is of one kind and not of another, and what to do."""
    remedy = _REMEDIES[expected]
    if path.suffix.lower() not in _SUFFIXES[kind]:
        remedy += f" If this is the model that you mean, name it *{_SUFFIXES[kind][0]}."
    return f"{path}: is {TITLES[kind]}; expected {TITLES[expected]}. {remedy}"


def _is_of_torch(file: BinaryIO) -> bool:
    """Tell whether a zip holds what torch saves: NAME/data.pkl, as a rule as its first member."""
    file.seek(0)
    start = file.read(_ZIP_NAME + 2**16)
    length = int.from_bytes(start[26:28], "little")
    if start[_ZIP_NAME : _ZIP_NAME + length].endswith(b"/data.pkl"):
        return True
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith("/data.pkl") for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def _is_onnx(file: BinaryIO) -> bool:
    """Walk the fields of a protobuf message until it has shown a version and a graph."""
    file.seek(0)
    seen: set[int] = set()
    while not seen >= {_ONNX_VERSION, _ONNX_GRAPH}:
        tag = _read_varint(file)
        if tag is None or _ONNX_FIELDS.get(tag >> 3) != tag & 7:
            return False
        seen.add(tag >> 3)
        value = _read_varint(file)
        if value is None:
            return False
        if tag & 7 == _BYTES:
            file.seek(value, 1)
    return True


def _read_varint(file: BinaryIO) -> int | None:
    """Read a protobuf number of up to 64 bits; None at the end or where there is none."""
    value = 0
    for shift in range(0, 64, 7):
        byte = file.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << shift
        if not byte[0] & 0x80:
            return value
    return None
