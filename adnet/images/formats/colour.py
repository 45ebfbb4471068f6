"""CMYK and CIELAB to sRGB, for files whose colours no denoiser of RGB can take."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from adnet.errors import ImageError

_BAND = 1 << 20
"""Pixels converted at once."""


@lru_cache(maxsize=1)
def srgb_profile() -> bytes:
    """Return an ICC profile of sRGB."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def cmyk_to_rgb(
    cmyk: NDArray[np.uint8], profile: bytes | None
) -> tuple[NDArray[np.uint8], str, bool]:
    """Convert (H, W, 4), 0 no ink and 255 full ink, to (H, W, 3).

    Through the ICC profile to sRGB; without a usable one by the plain formula of ink on white.

    Returns:
        The pixels, a sentence that says what was done, and whether they are sRGB.
    """
    image = Image.frombuffer("CMYK", (cmyk.shape[1], cmyk.shape[0]), np.ascontiguousarray(cmyk))
    image.info.clear()
    reason = "it has no ICC profile"
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            target = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
            if converted is not None:
                return np.asarray(converted), "CMYK became sRGB through its ICC profile.", True
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            reason = "its ICC profile cannot be used"
    told = f"CMYK became RGB by the plain formula, since {reason}."
    return np.asarray(image.convert("RGB")), told, False


def lab_to_rgb(lightness: NDArray[np.float32], a: Any, b: Any, white: int) -> NDArray[Any]:
    """Convert CIELAB (D50) to sRGB with whole numbers up to `white`.

    Args:
        lightness: (H, W), 0 to 100; `a` and `b` likewise, -128 to 127.

    Source: ICC.1:2022, section 6.3.4; IEC 61966-2-1, with the matrix of the sRGB ICC profile.
    """
    kind = np.uint8 if white == 255 else np.uint16
    result = np.empty((*lightness.shape, 3), kind)
    rows = max(1, _BAND // lightness.shape[1])
    for start in range(0, lightness.shape[0], rows):
        part = slice(start, start + rows)
        y = (lightness[part].astype(np.float64) + 16) / 116
        curves = np.stack([y + a[part] / 500.0, y, y - b[part] / 200.0], axis=-1)
        edge = 6 / 29
        xyz = np.where(curves > edge, curves**3, 3 * edge**2 * (curves - 4 / 29))
        xyz *= (0.9642, 1.0, 0.8249)
        linear = np.clip(xyz @ _XYZ_TO_RGB.T, 0, 1)
        curved = np.where(
            linear <= 0.0031308,
            12.92 * linear,
            1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055,
        )
        result[part] = np.rint(curved * white)
    return result


_XYZ_TO_RGB = np.linalg.inv(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169],
     [0.0139322, 0.0971045, 0.7141733]]
)  # fmt: skip


def stored_lab_to_rgb(stored: NDArray[Any], offset: bool) -> NDArray[Any]:
    """Convert (H, W, 3) as TIFF stores it, uint8 or uint16, to sRGB of the same dtype.

    Args:
        offset: a and b have 128 added (ICCLAB) instead of being signed (CIELAB).

    Source: TIFF 6.0, section 23; TIFF technical note on ICC L*a*b*.
    """
    white = int(np.iinfo(stored.dtype).max)
    if white not in (255, 65535):
        raise ImageError(f"LAB with {stored.dtype} samples is not supported.")
    one = 1 if white == 255 else 256
    if offset:
        a, b = (stored[..., at].astype(np.float32) / one - 128 for at in (1, 2))
    else:
        signed = np.dtype(f"i{stored.dtype.itemsize}")
        a, b = (
            np.ascontiguousarray(stored[..., at]).view(signed) / np.float32(one) for at in (1, 2)
        )
    most = 255 if white == 255 else 65280 if offset else 65535
    lightness = stored[..., 0].astype(np.float32) * np.float32(100 / most)
    return lab_to_rgb(lightness, a, b, white)
