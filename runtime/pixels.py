"""Pixels of any accepted dtype to what a network takes, and its results back, tile by tile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adnet.errors import ShapeError
from adnet.images.float_range import NOMINAL, Range, to_nominal

Float32 = NDArray[np.float32]

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Of R, G and B. Source: ITU-R BT.601-7, section 2.5.1; JFIF 1.02 uses the same."""
LUMA_NOISE = float(np.sqrt(np.square(_LUMA).sum()))
"""Noise of the luma, that of each plane being 1: they have nothing to do with each other."""


def to_float(pixels: NDArray[Any], values: Range) -> Float32:
    """(H, W, C) of any accepted dtype -> (C, H, W) float32 with white at 1."""
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    return to_nominal(planes, values)


def from_float(
    denoised: Float32, like: NDArray[Any], values: Range, strength: float
) -> NDArray[Any]:
    """(C, H, W) float32 -> (H, W, C) in the dtype of `like`, the pixels that it was made from.

    Blended with them in floats, then rounded: a strength of 0 gives them back as they were.
    """
    result: NDArray[Any] = denoised.transpose(1, 2, 0)
    is_whole = like.dtype.kind == "u"
    if is_whole:
        result = result * np.float32(np.iinfo(like.dtype).max)
    elif values != NOMINAL:
        black, white = values
        limits = np.finfo(like.dtype)
        # In float64, as `to_nominal`; white may be the largest number that the dtype has.
        with np.errstate(over="ignore"):
            result = result.astype(np.float64) * (white - black) + black
        result = np.clip(result, limits.min, limits.max)
    if strength != 1:
        exact = np.float32 if like.dtype.itemsize < 4 else like.dtype.newbyteorder("=")
        result = (1 - strength) * like.astype(exact) + strength * result
    if is_whole:
        result = np.clip(np.rint(result), 0, np.iinfo(like.dtype).max)
    return result


def luma(batch: Float32) -> Float32:
    """(N, 3, H, W) RGB -> (N, 1, H, W)."""
    gray: Float32 = np.einsum("nchw,c->nhw", batch, _LUMA)[:, None]
    return gray


def with_luma(batch: Float32, before: Float32, after: Float32) -> Float32:
    """Exchange the luma of (N, 3, H, W) RGB, `before`, for `after`; the chroma stays.

    Cb and Cr are multiples of B - Y and R - Y, so what is added to Y is added to each plane.
    """
    return batch + (after - before)


def mean_of_orientations(infer: Callable[[Float32], Float32], batch: Float32) -> Float32:
    """Denoise (N, C, H, W) in its eight orientations, turn the results back, take their mean.

    Known as geometric self-ensemble. Source: Lim et al., Enhanced Deep Residual Networks, CVPR
    Workshops 2017, section 3.4.
    """
    total = np.zeros(batch.shape, np.float32)
    for is_mirrored in (False, True):
        for turns in range(4):
            turned = np.rot90(batch, turns, (2, 3))
            turned = turned[..., ::-1] if is_mirrored else turned
            result = infer(np.ascontiguousarray(turned))
            result = result[..., ::-1] if is_mirrored else result
            total += np.rot90(result, -turns, (2, 3))
    total /= 8
    return total


def planes_of(image: NDArray[Any]) -> NDArray[Any]:
    """Return an image as (H, W, C).

    Raises:
        ShapeError: it is no array of an image, or partly masked.
    """
    if isinstance(image, np.matrix):
        raise ShapeError("expected an array, got a numpy.matrix. Give numpy.asarray of it.")
    if not isinstance(image, np.ndarray):
        raise ShapeError(
            f"expected a NumPy array, got {type(image).__name__}. adnet.denoise also takes paths, "
            "Pillow images and lists of these."
        )
    if np.ma.is_masked(image):
        raise ShapeError(
            "some pixels of the array are masked, and what is under the mask would spread to its "
            "neighbours. Fill it with values of the surroundings first, and mask the result."
        )
    if image.ndim not in (2, 3) or 0 in image.shape or (image.ndim == 3 and image.shape[2] > 4):
        raise ShapeError(
            f"expected an image (H, W) or (H, W, C) with C from 1 to 4, got shape {image.shape}."
        )
    native = image.dtype.newbyteorder("=")
    if native not in (np.uint8, np.uint16) and native.kind != "f":
        raise ShapeError(f"expected uint8, uint16 or float pixels, got {image.dtype}.")
    return image.reshape(*image.shape[:2], -1)
