"""What kind of file this is, by name and by content."""

from __future__ import annotations

FORMATS = {
    ".png": "PNG",
    ".apng": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jfif": "JPEG",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
    ".gif": "GIF",
}
"""Suffix -> format name; what adnet-run takes."""

_DEVELOP = "camera raw is not supported. Develop it to a 16-bit TIFF first, for example with "
_DEVELOP += "darktable-cli or dcraw -T -6."
_HEIF = "HEIC is not supported. Convert it to PNG first: heif-dec photo.heic photo.png."
# Pillow's wheels read AVIF, but cut 10 and 12 bits to 8 and cannot write it without loss.
_AVIF = "AVIF is not supported. Convert it to PNG first: avifdec photo.avif photo.png."
_RAW_SUFFIXES = (
    ".3fr", ".arw", ".cr2", ".cr3", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".mrw", ".nef",
    ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".sr2", ".srf", ".srw", ".x3f",
)  # fmt: skip
UNSUPPORTED = {
    **dict.fromkeys((".heic", ".heif", ".hif"), _HEIF),
    ".avif": _AVIF,
    **dict.fromkeys(_RAW_SUFFIXES, _DEVELOP),
    ".jxl": "JPEG XL is not supported. Convert it to PNG first: djxl photo.jxl photo.png.",
    **dict.fromkeys(
        (".jp2", ".j2k", ".jpx"),
        "JPEG 2000 is not supported. Convert it to PNG first: opj_decompress -i in.jp2 -o out.png.",
    ),
    ".exr": "OpenEXR is not supported. Convert it to float TIFF first: oiiotool in.exr -o out.tif.",
    ".psd": "Photoshop files are not supported. Save it as TIFF without layers first.",
}
"""Suffix of images that cannot be read -> why, and what converts them."""


def why_not_suffix(suffix: str) -> str:
    """Say why files of a suffix that is not in `FORMATS` are not taken, and what converts them."""
    told = f"the suffix {suffix or '(none)'} is not one of {', '.join(FORMATS)}."
    return UNSUPPORTED.get(suffix.lower(), told)


_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "PNG"), (b"\xff\xd8\xff", "JPEG"), (b"BM", "BMP"), (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"), (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"), (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
)  # fmt: skip
_GENERAL = (b"mif1", b"mif2", b"miaf", b"msf1")
_OTHERS = (
    (b"\xff\x0a", ".jxl"), (b"\0\0\0\x0cJXL ", ".jxl"), (b"\0\0\0\x0cjP  ", ".jp2"),
    (b"\xff\x4f\xff\x51", ".jp2"), (b"8BPS", ".psd"), (b"\x76\x2f\x31\x01", ".exr"),
    (b"FUJIFILMCCD-RAW", ".raf"), (b"IIRO", ".orf"), (b"IIRS", ".orf"), (b"MMOR", ".orf"),
    (b"IIU\0", ".rw2"), (b"FOVb", ".x3f"),
)  # fmt: skip


def format_of(data: bytes) -> str | None:
    """Return the format of a file by its first bytes; None for what cannot be read."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:4] in (b"II*\0", b"MM\0*") and data[8:10] == b"CR":
        return None  # Canon's raw format is a TIFF file with a preview
    return next((name for start, name in _SIGNATURES if data.startswith(start)), None)


def why_not(data: bytes) -> str:
    """Say why a file that has no known format cannot be read."""
    if not data:
        return "the file is empty."
    if data[4:8] == b"ftyp" and (told := _why_not_heif(data)):
        return told
    if data[8:10] == b"CR":
        return _DEVELOP
    for start, suffix in _OTHERS:
        if data.startswith(start):
            return UNSUPPORTED[suffix]
    return "not an image that can be read."


def _why_not_heif(data: bytes) -> str:
    """Tell the kinds of files apart that begin as MPEG-4 does; empty for other ones."""
    brand = data[8:12]
    # Files of the general brands name the real one among the compatible ones.
    if brand in (b"avif", b"avis") or (brand in _GENERAL and b"avif" in data[16:64]):
        return _AVIF
    if brand in (*_GENERAL, b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis"):
        return _HEIF
    return _DEVELOP if brand == b"crx " else ""
