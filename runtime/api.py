"""The calls that `import adnet` offers: one image, or whole folders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from adnet.errors import ImageError, UsageError
from adnet.images.float_range import extent, require_data
from adnet.images.formats.colour import cmyk_to_rgb, srgb_profile, stored_lab_to_rgb
from adnet.images.formats.tiff import no_data_of
from adnet.images.image import read_image
from adnet.runtime.asked import OF_DENOISER, require_path, require_words
from adnet.runtime.backend import RunOptions
from adnet.runtime.denoiser import Denoiser
from adnet.runtime.naming import Naming
from adnet.runtime.progress import Position, Progress
from adnet.runtime.request import Request, run
from adnet.runtime.settings import Settings
from adnet.runtime.summary import Summary
from adnet.runtime.treatment import Treatment

_AS_THEY_ARE = ("L", "LA", "RGB", "RGBA", "F", "I;16", "I;16L", "I;16B", "I;16N")
_DEEP = "I;16"
_DEEP_RAW = {"I;16B": ">u2", "I;16N": "=u2"}


def denoise(
    image: Any, model: str | Path | None = None, *, fast: bool = False, **asked: Any
) -> Any:
    """Denoise one image, or each of a list.

    Args:
        image: an array (see `Denoiser.__call__`), a Pillow image, the path of an image file, or a
            list or tuple of these.
        model: name of a shipped model or path of a model file; None: the shipped blind one.
        fast: take the int8 twin of the model.
        asked: words of `Denoiser`: sigma, strength, ensemble, color_mode, value_range, threads,
            device ...; backend="auto" takes the fastest.

    Returns:
        For an array, one of the same shape and dtype. For a Pillow image, of several frames the
        one that it stands at, one of the same mode (palettes, black-and-white, CMYK, LAB and
        colour keys become L, LA, RGB or RGBA of the same look). For a path, the denoised pixels as
        an array. For a list, a list. For many images one by one, open a `Denoiser` once.

    Raises:
        ImageError: a file cannot be read, or holds several frames or pages (`denoise_folder` keeps
            them); floats that are not finite, or not in the range that was said.
        ShapeError, UsageError, ModelError: see `Denoiser`.
        TypeError: there is no such word, or what is given is no image.
    """
    nested = {one.name for kind in (Treatment, RunOptions) for one in fields(kind)}
    require_words(asked, nested | OF_DENOISER)
    request = make_request(inputs=(), model=model, fast=fast, **asked)
    with Settings.of(request).open_denoiser() as denoiser:
        if isinstance(image, list | tuple):
            return [_denoise_one(one, denoiser) for one in image]
        return _denoise_one(image, denoiser)


def denoise_folder(
    inputs: str | PathLike[str] | Sequence[str | PathLike[str]],
    output: str | PathLike[str] | None = None,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    **asked: Any,
) -> Summary:
    """Denoise files and folders into files, as adnet-run does.

    An image that fails is noted in the result, and the others continue. Outputs that exist are
    skipped unless overwrite=True.

    Args:
        inputs: an image file or a folder, or several.
        output: folder for the results; for one input file, also a file. None with suffix=: beside
            the inputs.
        on_progress: called with each step, from any thread, one call at a time.
        asked: the options of adnet-run: model, sigma, strength, ensemble, color_mode, suffix,
            format, quality, overwrite, max_pixels, max_memory, value_range, strip_metadata,
            compare, reference, backend, tile, batch, threads, device ...

    Returns:
        What was written, skipped and failed, image by image.

    Raises:
        UsageError, ModelError: nothing was begun.
        TypeError: there is no such option.
    """
    several: list[Any] = [inputs]
    if isinstance(inputs, Iterable) and not isinstance(inputs, str | bytes | PathLike):
        several = list(inputs)
    for place in several if output is None else (*several, output):
        require_path(place)
    if "-" in (str(output), *map(str, several)):
        raise UsageError("-: pipes are for adnet-run; give the names of files or folders.")
    request = make_request(
        inputs=[Path(one) for one in several],
        output=None if output is None else Path(output),
        **asked,
    )
    plan = request.plan()
    position = Position(len(plan.jobs), on_progress or (lambda _: None))
    return run(request, plan, position, Summary())


def make_request(**asked: Any) -> Request:
    """Make a request of the words of adnet-run's options, strength= and threads= included.

    Raises:
        UsageError: they do not go together.
        TypeError: there is no such word.
    """
    for name, kind in (("naming", Naming), ("treatment", Treatment), ("options", RunOptions)):
        words = {one.name for one in fields(kind)} & set(asked)
        if words:
            given = {word: asked.pop(word) for word in words}
            asked[name] = replace(asked.get(name) or kind(), **given)
    nested = {one.name for kind in (Naming, Treatment, RunOptions) for one in fields(kind)}
    require_words(asked, {one.name for one in fields(Request)}, nested)
    for name in ("compare", "reference"):
        if asked.get(name) is not None:
            asked[name] = Path(asked[name])
    return Request(**asked)


def _denoise_one(image: Any, denoiser: Denoiser) -> Any:
    if isinstance(image, str | PathLike):
        require_path(image)
        file = read_image(Path(fspath(image)))
        if file.more:
            raise ImageError(
                f"{image}: has {len(file.frames)} frames or pages; expected one image. "
                "adnet.denoise_folder keeps them all."
            )
        if (found := extent([file.pixels], file.colour_channels)) is not None:
            try:
                require_data(found, denoiser.value_range, no_data_of(file)[0])
            except ImageError as err:
                raise ImageError(f"{image}: {err}") from err
        try:
            return denoiser(file.pixels)
        except ImageError as err:
            raise ImageError(f"{image}: {err}") from err
    if isinstance(image, Image.Image):
        return _denoise_pillow(image, denoiser)
    if isinstance(image, np.ndarray):
        return denoiser(image)
    if hasattr(image, "detach"):  # a tensor, perhaps one that learns, or on a device
        image = image.detach().cpu()
    if hasattr(image, "__array__"):  # a data frame's values
        return denoiser(np.asarray(image))
    raise TypeError(
        "expected an array, a Pillow image, a path, or a list or tuple of these, got "
        f"{type(image).__name__}."
    )


def _denoise_pillow(image: Image.Image, denoiser: Denoiser) -> Image.Image:
    """Denoise a Pillow image; its `info` comes along, as ICC profile and resolution do."""
    source = _as_denoised(image)
    result = denoiser(np.asarray(source))
    if source.mode.startswith(_DEEP):
        raw = result.astype(_DEEP_RAW.get(source.mode, "<u2")).tobytes()
        made = Image.frombytes(source.mode, source.size, raw)
    else:
        made = Image.fromarray(result)
    made.info = dict(source.info)
    return made


def _as_denoised(image: Image.Image) -> Image.Image:
    """Return an image as it is, or with the same look in a mode that can be denoised."""
    has_key = "transparency" in image.info
    if image.mode == "I" or (has_key and image.mode.startswith(_DEEP)):
        reason = "16 bits with a transparent gray" if has_key else "32 bits of no known range"
        raise ImageError(
            f"a Pillow image of mode {image.mode} with {reason}: convert it to I;16 or F without "
            "transparency first, or give the path of its file."
        )
    profile = image.info.get("icc_profile")
    if image.mode == "CMYK":
        pixels, _, is_srgb = cmyk_to_rgb(np.asarray(image), profile)
        return _with_profile(Image.fromarray(pixels), image, srgb_profile() if is_srgb else None)
    if image.mode == "LAB":
        pixels = stored_lab_to_rgb(np.asarray(image), offset=False)
        return _with_profile(Image.fromarray(pixels), image, srgb_profile())
    if image.mode in _AS_THEY_ARE and not has_key:
        return image
    is_gray = image.mode in ("1", "L", "La")
    has_alpha = has_key or image.mode in ("La", "PA", "RGBa")
    made = image.convert(
        ("LA" if has_alpha else "L") if is_gray else "RGBA" if has_alpha else "RGB"
    )
    made.info = {key: one for key, one in image.info.items() if key != "transparency"}
    return made


def _with_profile(made: Image.Image, source: Image.Image, profile: bytes | None) -> Image.Image:
    """Give an image the `info` of another, and a profile of its own or none."""
    made.info = {key: one for key, one in source.info.items() if key != "icc_profile"}
    if profile is not None:
        made.info["icc_profile"] = profile
    return made
