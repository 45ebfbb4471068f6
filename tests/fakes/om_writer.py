"""Write files with the outside of an OM, as `models.om_file` documents it; the inside is an ONNX.

Only the container is Ascend's. What a real ATC writes into the partitions is not imitated, but for
the attributes that tools read; the ONNX model lies in the weights partition, the AIPP configuration
in that of the tasks.
"""

import struct

HEADER = struct.Struct("<III64sIBBBB32sI32sII20sB3sQBB62s")


def _field(number: int, content: bytes) -> bytes:
    length, encoded = len(content), b""
    while True:
        byte, length = length & 0x7F, length >> 7
        encoded += bytes([byte | (0x80 if length else 0)])
        if not length:
            return bytes([number << 3 | 2]) + encoded + content


def model_def(name: str, attributes: dict[str, str]) -> bytes:
    """ge.proto.ModelDef: field 1 name, 11 a map of attributes."""
    entries = b"".join(
        _field(11, _field(1, key.encode()) + _field(2, _field(2, value.encode())))
        for key, value in attributes.items()
    )
    return _field(1, name.encode()) + entries


def om_bytes(
    name: str, attributes: dict[str, str], onnx: bytes, *, aipp="", dynamic=False, wide=True,
    host=(),
) -> bytes:  # fmt: skip
    """`host`: (system, processor) that the model is bound to."""
    if host:  # unconfirmed under which names they lie in the file
        attributes = attributes | dict(zip(("host_env_os", "host_env_cpu"), host, strict=True))
    tasks = aipp.encode().ljust(64, b"\0")
    parts = [(0, model_def(name, attributes)), (1, onnx), (2, tasks)]
    entry = struct.Struct("<IIQQ") if wide else struct.Struct("<III")
    table = struct.pack("<II", len(parts), 0) if wide else struct.pack("<I", len(parts))
    offset = 0
    for kind, content in parts:
        table += (
            entry.pack(kind, 0, offset, len(content))
            if wide
            else entry.pack(kind, offset, len(content))
        )
        offset += len(content)
    body = table + b"".join(content for _, content in parts)
    header = HEADER.pack(
        0x444F4D49, 256, 0x20000000 if wide else 0x10000000, b"", 0 if wide else len(body), 0, 1,
        0, 0, name.encode()[:31], 0, b"", 0, 1, b"", 0, b"", len(body) if wide else 0,
        int(bool(host)), int(dynamic), b"",
    )  # fmt: skip
    return header + body
