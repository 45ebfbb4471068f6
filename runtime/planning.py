"""How one image goes through one model: which tiles, and which batches of them.

Pure functions of what the model takes (`InputSpec`), the image's size, and what the user asked for;
`tiling` has the geometry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from adnet.errors import ShapeError, UsageError
from adnet.models.architecture import RECEPTIVE_RADIUS
from adnet.runtime.backend import InputSpec
from adnet.runtime.choices import is_whole
from adnet.runtime.tiling import (
    Tile,
    balanced_tile,
    fits,
    highest_tile,
    plan_batches,
    plan_tiles,
    roomy_tile,
)

DEFAULT_PIXELS = 512**2
"""Of a tile, where the memory is not known: 0.16 GB, a sixth more work than one piece."""

Size = tuple[int, int]
"""(height, width)."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a user asks of the plan; None leaves it open.

    Raises:
        UsageError: out of range.
    """

    tile: int | None = None
    """Largest side of a tile in pixels."""
    batch: int | None = None
    """Tiles at once."""
    pad: str | None = None
    """`reflect`: mirror the border of images that are too small for a model of fixed sizes."""
    pixels: int | None = None
    """Most pixels of a tile where `tile` is left open."""

    def __post_init__(self) -> None:
        smallest = 2 * RECEPTIVE_RADIUS + 1
        if not is_whole(self.tile, smallest):
            raise UsageError(
                f"tile must be a whole number of at least {smallest} pixels (a halo of "
                f"{RECEPTIVE_RADIUS} on each side and a core), got {self.tile!r}."
            )
        if not is_whole(self.batch, 1):
            raise UsageError(f"batch must be a whole number of at least 1, got {self.batch!r}.")
        if self.pad not in (None, "reflect"):
            raise UsageError(f"pad must be 'reflect' or left out, got {self.pad!r}.")


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """How one image goes through one model."""

    padded: Size
    """The image's size, or the larger one to which its lower and right border are mirrored."""
    tile: Size
    """Of every tile."""
    tiles: list[Tile]
    """Cover `padded` in reading order."""
    batches: list[tuple[int, int]]
    """(used, allotted) of each batch: it is filled up where the model takes no such number."""


def require_possible(spec: InputSpec, wishes: Wishes, backend: str) -> None:
    """Refuse a tile or batch that the model's fixed shapes do not leave open.

    Args:
        backend: its name, for the message.

    Raises:
        UsageError: saying what the model takes.
    """
    sizes = spec.sizes
    if wishes.tile is not None and sizes is not None:
        raise UsageError(
            f"{backend} backend: the model has fixed sizes ({_told(sizes)}), so tile "
            f"{wishes.tile} cannot be chosen. Leave it out."
        )
    batches = {shape[0] for shape in spec.shapes}
    if wishes.batch is not None and None not in batches and wishes.batch not in batches:
        told = ", ".join(map(str, sorted(batches, key=str)))
        raise UsageError(
            f"{backend} backend: the model takes batches of {told}, got batch {wishes.batch}."
        )


def require_turnable(spec: InputSpec, backend: str) -> InputSpec:
    """Leave of what a model takes what it takes turned by 90 degrees, too.

    Raises:
        UsageError: nothing is left.
    """
    shapes = tuple(one for one in spec.shapes if (one[0], one[2], one[1]) in spec.shapes)
    if not shapes:
        raise UsageError(
            f"{backend} backend: an ensemble turns the image, but the model takes only "
            f"{_told(spec.sizes or ())} (height x width). Use a model of any size or of square "
            "sizes, or leave --ensemble out."
        )
    return replace(spec, shapes=shapes)


def plan_image(
    spec: InputSpec, size: Size, halo: int, wishes: Wishes, backend: str, groups: int = 1
) -> ImagePlan:
    """Choose tiles and batches that the model takes, with the least work.

    Args:
        size: of the image.
        halo: context in pixels that makes tiles exact.
        backend: its name, for the message.
        groups: how often each tile goes through the model: 3 for colour through a gray one.

    Raises:
        ShapeError: the model has fixed sizes, and the image fits none of them.
    """
    tile, padded = choose_tile(spec, size, halo, wishes, backend)
    tiles = plan_tiles(padded, tile, halo)
    allowed = batches_for(spec, tile, wishes.batch)
    batches = plan_batches(len(tiles) * groups, allowed, wishes.batch or 1)
    return ImagePlan(padded, tile, tiles, list(batches))


def choose_tile(
    spec: InputSpec, size: Size, halo: int, wishes: Wishes, backend: str
) -> tuple[Size, Size]:
    """Choose a tile that the model takes, the one with the least work.

    Returns:
        The tile, and the size to which the image must be padded (its own where it need not).

    Raises:
        ShapeError: see `plan_image`.
    """
    sizes = spec.sizes
    if sizes is None:
        if wishes.tile is None:
            return roomy_tile(size, wishes.pixels or DEFAULT_PIXELS, halo), size
        first, second = (balanced_tile(length, wishes.tile, halo) for length in size)
        return (first, second), size
    for padding in (False, True):
        choices = []
        for tile in sizes:
            image = (max(size[0], tile[0]), max(size[1], tile[1])) if padding else size
            if all(fits(*lengths, halo) for lengths in zip(tile, image, strict=True)):
                work = len(plan_tiles(image, tile, halo)) * tile[0] * tile[1]
                choices.append((work, tile, image))
        if choices and (not padding or wishes.pad is not None):
            return min(choices)[1:]
    remedy = "Use a model made for smaller or any sizes."
    if max(min(one) for one in sizes) > 2 * halo and wishes.pad is None:
        remedy = (
            "Give --pad reflect (the padded border changes the result near it), or use a model "
            "made for smaller or any sizes."
        )
    raise ShapeError(
        f"{backend} backend: image {size[0]}x{size[1]} fits none of the model's sizes "
        f"{_told(sizes)} (height x width), not even in tiles. {remedy}"
    )


def plan_bands(
    spec: InputSpec, size: Size, halo: int, wishes: Wishes, backend: str, most: int | None = None
) -> list[tuple[slice, slice]]:
    """Cut an image into bands that are denoised one by one, with the result of the whole.

    Each band is a row of the tiles that the whole image would be cut into; where it is to have
    fewer rows, of smaller tiles.

    Args:
        most: rows of a band, where the model leaves it open.

    Returns:
        Rows of each band, and those of them whose result is kept.

    Raises:
        ShapeError: see `plan_image`.
    """
    if spec.sizes is None and most is not None:
        limit = min(most, wishes.tile or highest_tile(wishes.pixels or DEFAULT_PIXELS))
        tile, padded = (balanced_tile(size[0], limit, halo), size[1]), size
    else:
        tile, padded = choose_tile(spec, size, halo, wishes, backend)
    if padded != size:
        return [(slice(0, size[0]), slice(0, size[0]))]
    return [(one.rows, one.core_rows) for one in plan_tiles((size[0], 1), (tile[0], 1), halo)]


def batches_for(spec: InputSpec, tile: Size, wished: int | None) -> tuple[int, ...] | None:
    """Return the batches to use at a size: the model's, up to the one that was asked for.

    Returns:
        None where the model takes any.
    """
    batches = spec.batches(tile)
    if batches is None or wished is None:
        return batches
    return tuple(batch for batch in batches if batch <= wished) or batches


def shape_like(spec: InputSpec, size: Size) -> tuple[int, Size]:
    """Return a batch and a size that the model takes: the size asked for where it may be had."""
    if spec.sizes is not None and size not in spec.sizes:
        size = spec.sizes[0]
    return (spec.batches(size) or (1,))[0], size


def _told(sizes: Sequence[Size]) -> str:
    return ", ".join(f"{height}x{width}" for height, width in sizes)
