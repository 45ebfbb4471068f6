"""Read the outside of an OM file: header, partitions, how it was made; and the JSON beside it.

No Ascend device needed. What an OM does not tell stands in its sidecar, OM_FILE.json: the card of
its model and plain facts of the conversion.

The layout is that of the open-sourced graph engine (GE: framework_types_internal.h,
om_file_helper.cc, ge_ir.proto): 256 bytes of header, then `model_num` blocks of a partition table
and its data that together end exactly at the end of the file. A model's first partition holds a
protobuf ModelDef, whose attributes carry ATC's version, the chip and the command line.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adnet import __version__
from adnet.atomic import atomic_path
from adnet.errors import ModelError
from adnet.models.card import ModelCard
from adnet.models.files import require_kind

HEADER_SIZE = 256
MAGIC = 0x444F4D49  # "IMOD"
HEADER = struct.Struct("<III64sIBBBB32sI32sII20sB3sQBB62s")

PARTITION_NAMES = {
    0: "model definition", 1: "weights", 2: "task info", 3: "TBE kernels", 4: "AI CPU kernels",
    5: "shared objects", 6: "flow model", 7: "flow sub-model", 8: "inputs and outputs",
    9: "static task description", 10: "dynamic task description", 11: "task parameters",
    12: "tiling data",
}  # fmt: skip
"""Partition type -> what it holds, as far as known."""

_ATTRIBUTES = ("atc_cmdline", "soc_version", "atc_version", "opp_version", "framework_type")
_MODEL_DEF = 0


@dataclass(frozen=True, slots=True)
class Partition:
    """One part of an OM: its type and where it lies in the file."""

    kind: int
    offset: int
    size: int

    @property
    def name(self) -> str:
        """What it holds."""
        return PARTITION_NAMES.get(self.kind, f"type {self.kind}")


@dataclass(frozen=True, slots=True)
class OmFile:
    """What an OM file says about itself."""

    name: str
    version: int
    size: int
    models: int
    is_dynamic: bool
    """True for a shape range: sizes are free at run time. Gears count as static."""
    is_host_bound: bool
    """Runs only on the operating system and CPU that its file name tells."""
    partitions: tuple[Partition, ...]
    attributes: dict[str, str]
    """Those of atc_cmdline, soc_version, atc_version, opp_version, framework_type that it has."""


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What stands beside an OM."""

    card: ModelCard
    facts: Mapping[str, Any]
    """All that the file says, such as onnx_sha256 and precision; JSON types only."""


def sidecar_path(om: Path) -> Path:
    """Return where the sidecar of an OM lies: OM_FILE.json."""
    return om.with_name(f"{om.name}.json")


def write_sidecar(om: Path, card: ModelCard, facts: Mapping[str, Any]) -> Path:
    """Write the sidecar of an OM, whole or not at all.

    Args:
        facts: of the conversion, JSON types only.

    Returns:
        Its path.
    """
    target = sidecar_path(om)
    own = {"made_by": f"adnet {__version__}", "card": json.loads(card.to_json())}
    with atomic_path(target) as path:
        path.write_text(json.dumps({**own, **facts}, indent=2) + "\n", encoding="utf-8")
    return target


def read_sidecar(om: Path) -> Sidecar | None:
    """Read the sidecar of an OM; None where there is none, as beside an OM made by hand.

    Raises:
        ModelError: it is damaged.
    """
    path = sidecar_path(om)
    if not path.is_file():
        return None
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        text = json.dumps(facts["card"])
    except (OSError, ValueError, TypeError, KeyError) as err:
        raise ModelError(
            f"{path}: damaged ({type(err).__name__}: {err}). Convert the model again, or delete "
            "this file to go on without its facts."
        ) from err
    return Sidecar(ModelCard.from_json(text, str(path)), facts)


def read_om(path: Path) -> OmFile:
    """Read and check an OM file.

    Raises:
        ModelError: the file is missing, no OM, truncated or damaged.
    """
    require_kind(path, "om")
    try:
        content = path.read_bytes()
    except OSError as err:
        raise ModelError(f"{path}: cannot be read: {err.strerror}.") from err
    if content.startswith(b"PK\x03\x04"):
        raise ModelError(
            f"{path}: an OM2 package (ATC --mode=7), which adnet does not read. Convert the ONNX "
            "again without --mode."
        )
    if len(content) < HEADER_SIZE:
        raise ModelError(
            f"{path}: not an OM file: {len(content)} bytes, the header alone has {HEADER_SIZE}."
        )
    fields = HEADER.unpack_from(content)
    magic, header_size, version, length = fields[0], fields[1], fields[2], fields[4]
    name, models, model_length = fields[9], fields[13], fields[17]
    if magic != MAGIC or header_size != HEADER_SIZE:
        raise ModelError(f"{path}: not an OM file: it begins with {content[:4]!r}, not b'IMOD'.")
    body = model_length or length
    if body != len(content) - HEADER_SIZE:
        raise ModelError(
            f"{path}: truncated or damaged: the header promises {body} bytes after it, the file "
            f"has {len(content) - HEADER_SIZE}. Copy or convert it again."
        )
    partitions = tuple(_partitions(content, max(1, models), wide=model_length != 0, path=path))
    definition = b"".join(
        content[part.offset : part.offset + part.size]
        for part in partitions
        if part.kind == _MODEL_DEF
    )
    return OmFile(
        name=name.split(b"\0")[0].decode("utf-8", "replace"),
        version=version,
        size=len(content),
        models=max(1, models),
        is_dynamic=fields[19] == 1,
        is_host_bound=fields[18] == 1,
        partitions=partitions,
        attributes=_attributes(definition),
    )


def _partitions(content: bytes, models: int, *, wide: bool, path: Path) -> Iterator[Partition]:
    """Walk the tables of all models; their data must end with the file."""
    count_size, entry = (8, struct.Struct("<IIQQ")) if wide else (4, struct.Struct("<III"))
    position = HEADER_SIZE
    for _ in range(models):
        if position + count_size > len(content):
            raise ModelError(f"{path}: damaged: a partition table lies beyond the end.")
        (count,) = struct.unpack_from("<I", content, position)
        table_end = position + count_size + count * entry.size
        if table_end > len(content):
            raise ModelError(f"{path}: damaged: a table of {count} partitions does not fit in.")
        end = table_end
        for index in range(count):
            values = entry.unpack_from(content, position + count_size + index * entry.size)
            kind, offset, size = values[0], values[-2], values[-1]
            if table_end + offset + size > len(content):
                raise ModelError(f"{path}: damaged: partition {index} reaches beyond the end.")
            yield Partition(kind, table_end + offset, size)
            end = max(end, table_end + offset + size)
        position = end
    if position != len(content):
        raise ModelError(
            f"{path}: damaged: {len(content) - position} bytes after the last partition."
        )


def _attributes(definition: bytes) -> dict[str, str]:
    """Find string attributes of a ModelDef by their wire format, without its schema.

    An entry of the map is: key (field 1, bytes), value (field 2, an AttrDef whose field 2 is the
    string).
    """
    found = {}
    for key in _ATTRIBUTES:
        encoded = key.encode()
        at = definition.find(b"\x0a" + bytes([len(encoded)]) + encoded)
        if at < 0:
            continue
        at += 2 + len(encoded)
        value = _length_delimited(definition, at)
        text = None if value is None else _length_delimited(value, 0)
        if text is not None:
            found[key] = text.decode("utf-8", "replace")
    return found


def _length_delimited(data: bytes, at: int) -> bytes | None:
    """Return the content of a protobuf field 2 of bytes at `at`; None when it is none."""
    if data[at : at + 1] != b"\x12":
        return None
    at += 1
    length = shift = 0
    while at < len(data) and shift < 35:
        byte = data[at]
        length |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return data[at : at + length] if at + length <= len(data) else None
    return None
