"""Samples of a TIFF beyond its colours, in every other format: straight alpha, or left out."""

import numpy as np
import pytest
from image_helpers import HEIGHT, PIXELS, WIDTH, copy, tiff

from adnet.images.formats.codec import check_writable
from adnet.images.image import read_image
from adnet.runtime import loading
from adnet.runtime.denoiser import Denoiser
from adnet.runtime.folder import run_jobs
from adnet.runtime.jobs import Job
from adnet.runtime.loading import Limits


def multiplied(straight, white):
    """Colours times alpha, rounded, as a program writes associated alpha."""
    alpha = straight[..., -1:].astype(float) / white
    colour = np.rint(straight[..., :-1] * alpha)
    return np.dstack([colour.astype(straight.dtype), straight[..., -1:]])


def wanted_of(stored, white):
    """What the colours were, to what the rounding left of them."""
    colour, alpha = np.split(stored.astype(float), [-1], axis=2)
    with np.errstate(all="ignore"):
        colour = np.minimum(colour * white / alpha, white)
    return np.where(alpha == 0, stored[..., :-1], np.floor(colour + 0.5))


@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("kind", ["u1", "u2"])
@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("more", [0, 1])
@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp"])
def test_associated_alpha_becomes_straight(tmp_path, suffix, kind, channels, separate, more):
    if suffix != ".png" and (kind == "u2" or (suffix, channels) == (".bmp", 2)):
        return
    white = np.iinfo(kind).max
    straight = PIXELS[..., :channels].astype(kind) * (white // 255)
    straight[:2, :, -1], straight[2:4, :, -1] = 0, white
    stored = multiplied(straight, white)
    stored[5, 5] = white  # a colour beyond its alpha, as damaged files have it
    stored[5, 5, -1] = white // 3
    planes = np.dstack([stored, *[PIXELS[..., 4].astype(kind)] * more])
    tags = {"t262": 2 if channels == 4 else 1, "t338": [1, 0][: 1 + more]}
    source = tiff(
        tmp_path / "a.tif", planes, bits=8 * stored.itemsize, separate=separate, **tags
    )  # fmt: skip
    file = read_image(source)
    notes = check_writable(file, tmp_path / f"b{suffix}")
    assert sum("were divided by it" in note for note in notes) == 1
    assert sum("1 sample per pixel beside colour and alpha" in note for note in notes) == more
    result = read_image(copy(source, tmp_path / f"b{suffix}")).pixels
    if result.shape[2] > channels:  # WebP has no gray
        result = result[..., [0, 3]]
    assert np.array_equal(result[..., -1], stored[..., -1])
    if suffix == ".webp":  # lossy
        return
    assert np.array_equal(result[..., :-1], wanted_of(stored, white))
    seen = stored[..., -1] > white // 2
    assert np.abs(result[seen].astype(int) - straight[seen]).max() <= 1


def test_associated_alpha_where_white_is_zero(tmp_path):
    """It is the darkness that was multiplied; seen on a white page."""
    straight = PIXELS[..., :2]
    stored = multiplied(np.dstack([255 - straight[..., 0], straight[..., 1]]), 255)
    source = tiff(tmp_path / "a.tif", stored, t262=0, t338=1)
    result = read_image(copy(source, tmp_path / "b.png")).pixels
    seen = straight[..., 1] > 127
    assert np.abs(result[seen].astype(int) - straight[seen]).max() <= 1


@pytest.mark.parametrize("alpha", [0, 1, 2, None])
@pytest.mark.parametrize("channels", [2, 4])
def test_a_tiff_stays_as_it_is(tmp_path, channels, alpha):
    source = tiff(tmp_path / "a.tif", PIXELS[..., :channels], t338=alpha)
    assert check_writable(read_image(source), tmp_path / "b.tif") == ()
    copied = read_image(copy(source, tmp_path / "b.tif"))
    assert np.array_equal(copied.pixels, PIXELS[..., :channels])
    assert copied.layout.pages[0].extra_codes == (alpha or 0,)


@pytest.mark.parametrize("codes", [[0], None, [0, 0], [0, 2], [7]])
@pytest.mark.parametrize("colours", [1, 3])
@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp", ".jpg", ".gif"])
def test_samples_that_are_no_alpha_are_left_out(tmp_path, suffix, colours, codes):
    """Infrared or a mask is no transparency, and JPEG holds what is left."""
    count = len(codes or [0])
    stored = PIXELS[..., : colours + count]
    tags = {"t262": 2 if colours == 3 else 1, "t338": codes}
    file = read_image(source := tiff(tmp_path / "a.tif", stored, **tags))
    target = tmp_path / f"b{suffix}"
    told = [note for note in check_writable(file, target) if "beside colour and alpha" in note]
    assert len(told) == 1
    assert told[0].startswith("1 sample per" if count == 1 else "2 samples per")
    assert "unspecified" in told[0]
    result = read_image(copy(source, target)).pixels.reshape(HEIGHT, WIDTH, -1)
    assert result.shape[2] in (colours, 3)
    if suffix in (".png", ".bmp"):
        assert np.array_equal(result, stored[..., :colours])


@pytest.mark.parametrize("code", [0, 1])
@pytest.mark.parametrize("more", [0, 1])
@pytest.mark.parametrize("channels", [2, 4])
def test_bands_give_what_the_whole_gives(tmp_path, monkeypatch, code, channels, more):
    stored = multiplied(PIXELS[..., :channels], 255)
    stored = np.dstack([stored, *[PIXELS[..., 4]] * more])
    tags = {"t262": 2 if channels == 4 else 1, "t338": [code, 0][: 1 + more]}
    source = tiff(tmp_path / "a.tif", stored, **tags)
    results = []
    for name in ("whole.png", "bands.png"):
        if name == "bands.png":
            monkeypatch.setattr(loading, "whole_bytes", lambda *_: 2**50)
        with Denoiser(tile=64, strength=0) as denoiser:
            limits = Limits(memory=200 << 20, most=200 << 20)
            summary = run_jobs([Job(source, tmp_path / name)], denoiser, limits=limits)
        assert not summary.failed
        pixels = read_image(tmp_path / name).pixels
        results.append((pixels, [note for _, note in summary.notes]))
    (one, told), (two, again) = results
    assert told == again
    assert len(told) == (1 if code == 0 else 1 + more)
    assert np.array_equal(one, two)
    assert one.reshape(HEIGHT, WIDTH, -1).shape[2] == channels - (code == 0)
