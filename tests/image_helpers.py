"""Image files written by hand, and how they look, for the tests of reading and writing."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps

from adnet.images.image import read_image, write_image

WIDTH, HEIGHT = 37, 21  # no multiple of 8 or 16: padding of rows and tiles shows
PIXELS = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 5), np.uint8)


def looks(path, mode="RGBA"):
    """The pixels as a viewer shows them."""
    # From memory: by name, Pillow mixes up the sides of some raw TIFFs that it maps.
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert(mode))


def copy(source, target):
    file = read_image(source)
    write_image(target, file.pixels, file)
    return target


def tiff(
    path, planes, *, bits=8, separate=False, order="<", compressed=False, mirrored=False, **tags
):
    """Write a TIFF of one strip per plane; `planes` are packed rows, (H, bytes) or (H, W, C)."""
    planes = np.asarray(planes)
    samples = tags.pop("samples", planes.shape[2] if planes.ndim == 3 else 1)
    blocks = [planes[..., i] for i in range(samples)] if separate else [planes]
    blocks = [np.ascontiguousarray(block).tobytes() for block in blocks]
    blocks = [zlib.compress(block) for block in blocks] if compressed else blocks
    if mirrored:  # FillOrder 2 is about the bytes in the file
        order_of_bits = [int(f"{value:08b}"[::-1], 2) for value in range(256)]
        blocks = [block.translate(bytes(order_of_bits)) for block in blocks]
        tags["t266"] = 2
    entries = {
        256: (4, [WIDTH]), 257: (4, [HEIGHT]), 258: (3, [bits] * samples),
        259: (3, [8 if compressed else 1]), 262: (3, [2 if samples >= 3 else 1]),
        273: (4, [0] * len(blocks)), 277: (3, [samples]), 278: (4, [HEIGHT]),
        279: (4, [len(block) for block in blocks]), 284: (3, [2 if separate else 1]),
    }  # fmt: skip
    for name, values in tags.items():
        tag = int(name.removeprefix("t"))
        entries.pop(tag, None)
        if values is not None:
            entries[tag] = (3, [values] if isinstance(values, int) else list(values))
    offsets, at = [], 8
    for block in blocks:
        offsets.append(at)
        at += len(block)
    at += at % 2
    entries[273] = (4, offsets)
    body, extra, after = b"", b"", at + 2 + 12 * len(entries) + 4
    for tag, (kind, values) in sorted(entries.items()):
        data = struct.pack(f"{order}{len(values)}{'H' if kind == 3 else 'I'}", *values)
        if len(data) > 4:
            field = struct.pack(order + "I", after + len(extra))
            extra += data
        else:
            field = data.ljust(4, b"\0")
        body += struct.pack(order + "HHI", tag, kind, len(values)) + field
    head = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, at)
    data = (head + b"".join(blocks)).ljust(at, b"\0")
    path.write_bytes(
        data + struct.pack(order + "H", len(entries)) + body + struct.pack(order + "I", 0) + extra
    )
    return path


def packed(values, bits):
    """Pack (H, W) values, first pixel in the high bits, rows padded to bytes."""
    planes = (values[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(planes.reshape(HEIGHT, -1).astype(np.uint8), axis=1)
