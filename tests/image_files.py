"""Image files with every kind of metadata, made by Pillow and by hand."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageCms

from adnet.images.formats import jpeg_segments, png_chunks, tiff_tags, webp_chunks
from adnet.images.levels import to_levels
from adnet.images.synthetic import render

SHAPES = [(13, 17), (13, 17, 2), (13, 17, 3), (13, 17, 4)]
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b"<x:xmpmeta/>"


def pixels_of(shape, dtype, seed=0):
    random = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return random.normal(0.5, 0.2, shape).astype(dtype)
    return random.integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)


def picture(mode, size=(30, 20)):
    """A smooth image of a mode of Pillow; the palette has few colours."""
    rgb = to_levels(render(size[1], size[0], 3, 0))
    image = Image.fromarray(rgb)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(rgb[..., 1]))
    return image.quantize(16) if mode == "P" else image.convert(mode)


def exif_block(orientation=6):
    """Exif with a camera, a sub-directory and a place, in the byte order of most cameras."""
    exif = Image.Exif()
    exif[271], exif[274] = "Camera", orientation
    exif.get_ifd(34665)[33434] = (1, 8)
    exif.get_ifd(34853)[1] = "N"
    return exif.tobytes()


def make(kind, mode, metadata):
    """Make an image file; None where the format has no such mode."""
    image, file = picture(mode), io.BytesIO()
    options = {}
    if metadata:
        options = {"icc_profile": PROFILE, "exif": exif_block(), "dpi": (300, 300)}
    if kind in ("GIF", "BMP"):
        options = {}
    if kind == "WEBP":
        options |= {"lossless": True, "exact": True} | ({"xmp": XMP} if metadata else {})
    if kind == "JPEG" and metadata:
        options |= {"comment": b"secret \xff words", "icc_profile": PROFILE * 40}
    if kind == "WEBP" and mode not in ("RGB", "RGBA"):
        return None
    try:
        image.save(file, kind, **options)
    except (OSError, ValueError):
        return None
    data = file.getvalue()
    if metadata and kind == "PNG":
        data = _with_chunks(data)
    if metadata and kind == "JPEG":
        data = _with_segments(data)
    if metadata and kind == "TIFF":
        data = _with_tags(data)
    return data


def _with_chunks(data):
    chunks, _ = png_chunks.split_chunks(data)
    new = [
        (b"gAMA", struct.pack(">I", 45455)), (b"cHRM", bytes(range(32))), (b"sRGB", b"\0"),
        (b"cICP", b"\x01\x0d\0\x01"), (b"tEXt", b"parameters\0secret \xe9"),
        (b"zTXt", b"Comment\0\0" + zlib.compress(b"secret" * 9)),
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP), (b"prVt", b"private"),
    ]  # fmt: skip
    chunks[1:1] = [png_chunks.Chunk(*one) for one in new]
    late = [png_chunks.Chunk(b"tEXt", b"late\0secret"), png_chunks.Chunk(b"tIME", b"\x07\xe9" * 3)]
    return png_chunks.join_chunks(chunks + late)


def _with_segments(data):
    segments, scans, _ = jpeg_segments.split_segments(data)
    new = [
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP),
        (0xED, b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0\0\0\0\x02hi"), (0xEC, b"Ducky\0\x01"),
        (0xE1, b"http://ns.adobe.com/xmp/extension/\0" + b"A" * 32 + b"more"),
    ]  # fmt: skip
    found = list(segments)
    found[2:2] = [jpeg_segments.Segment(*one) for one in new]
    return jpeg_segments.join_segments(found, scans)


def _with_tags(data):
    kind, (page,), _ = tiff_tags.read_directories(data)
    segments = []
    for at, length in zip(
        tiff_tags.values(page.tags[273], kind), tiff_tags.values(page.tags[279], kind), strict=True
    ):
        segments.append(data[at : at + length])
    new = {
        270: (2, "Köln, äöü".encode() + b"\0"), 700: (1, XMP), 33723: (7, b"\x1c\x02x8BIM"),
        34735: (3, struct.pack("<8H", *range(8))), 33550: (12, struct.pack("<3d", 1, 2, 0)),
        42113: (2, b"-9999\0"), 65000: (7, b"private secret"),
    }  # fmt: skip
    sizes = {1: 1, 2: 1, 3: 2, 7: 1, 12: 8}
    for code, (type_, block) in new.items():
        page.tags[code] = tiff_tags.Tag(type_, len(block) // sizes[type_], block)
    return tiff_tags.write_directories(kind, [(page, (273, 279), segments)])


def png_blocks(data):
    """Metadata chunks of a PNG file, with their place before or after the pixels."""
    chunks, _ = png_chunks.split_chunks(data)
    pixels = (b"IHDR", b"IDAT", b"PLTE", b"tRNS")
    first = next(at for at, one in enumerate(chunks) if one.kind == b"IDAT")
    return [(at > first, one) for at, one in enumerate(chunks) if one.kind not in pixels]


def jpeg_blocks(data):
    segments, _, _ = jpeg_segments.split_segments(data)
    return [one for one in segments if one.is_metadata and not one.data.startswith(b"Adobe")]


def webp_blocks(data):
    pixels = (*webp_chunks.PIXEL_KINDS, b"VP8X")
    return [one for one in webp_chunks.split_chunks(data) if one.kind not in pixels]


def tiff_blocks(data):
    _, (page,), _ = tiff_tags.read_directories(data)
    layout = (*range(256, 263), 273, 277, 278, 279, 284, 317, 320, 338, 339, 34675)
    tags = {code: tag for code, tag in page.tags.items() if code not in layout}
    return [sorted(tags.items()), page.children]
