"""What adnet-serve checks and answers, without Ray."""

import asyncio
import importlib.util
import sys
import threading

import numpy as np
import pytest
from conftest import assert_clean_error
from image_files import make

from adnet.errors import (
    AdnetError,
    DeviceError,
    DeviceLostError,
    ImageError,
    ModelError,
    NotEnoughMemory,
    ShapeError,
    TooManyPixels,
    UsageError,
)
from adnet.images.formats.codec import decode_image
from adnet.images.formats.kinds import FORMATS
from adnet.runtime.backend import RunOptions
from adnet.runtime.budget import free_memory
from adnet.runtime.denoiser import Denoiser
from adnet.runtime.in_memory import denoise_file
from adnet.runtime.serve.answers import Answer, Asked, failure_of
from adnet.runtime.serve.asking import read_query
from adnet.runtime.serve.body import read_body
from adnet.runtime.serve.environment import prepare
from adnet.runtime.serve.limits import TOKEN_VARIABLE, Limits, is_allowed, read_token, require_safe
from adnet.runtime.serve.offer import Offer, offered_models, parse_replicas
from adnet.runtime.serve.worker import Worker
from adnet.runtime.treatment import Treatment

TOKEN = "0123456789abcdef"


@pytest.fixture(scope="module")
def worker():
    return Worker(Offer({"gray-25": "gray-25", "color": "color-blind"}, 10_000, RunOptions(1)))


def answer(worker, data, asked=None):
    return asyncio.run(worker(data, asked or Asked()))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF"])
def test_a_worker_answers_with_the_file(worker, kind):
    data = make(kind, "RGB" if kind != "GIF" else "P", metadata=True)
    got = answer(worker, data)
    assert got.status == 200, got.body
    assert got.media_type == f"image/{kind.lower()}"
    with Denoiser("gray-25", threads=1) as denoiser:
        assert got.body == denoise_file(data, denoiser).data


@pytest.mark.parametrize(("status", "data", "asked"), [
    (415, b"words", Asked()),
    (400, b"\x89PNG\r\n\x1a\n", Asked()),
    (400, make("PNG", "L", metadata=False), Asked("color")),
    (400, make("PNG", "RGBA", metadata=False), Asked(suffix=".jpg")),
])  # fmt: skip
def test_a_worker_says_what_is_wrong(worker, status, data, asked):
    got = answer(worker, data, asked)
    assert got.status == status
    assert len(got.body) > 10


def test_too_many_pixels_of_every_format(make_image, tmp_path):
    for suffix in FORMATS:
        if suffix == ".apng":
            continue
        path = make_image(tmp_path / f"a{'.jpg' if suffix == '.jfif' else suffix}", size=(101, 100))
        with pytest.raises(TooManyPixels, match="more than the limit"):
            decode_image(path.read_bytes(), "image", 10_000)


def test_no_request_opens_a_file(worker):
    """Whatever it names, nothing is opened while it is answered; the models are open."""
    data = make("PNG", "RGB", metadata=True)
    answer(worker, data), answer(worker, data, Asked("color"))
    opened, here = [], threading.Event()

    def watch(event, arguments):
        if here.is_set() and event == "open":
            opened.append(arguments[0])

    sys.addaudithook(watch)
    here.set()
    try:
        for suffix in ("", ".png", ".tif"):
            assert answer(worker, data, Asked(suffix=suffix)).status == 200
        for name in ("/etc/passwd", "../x.png", "/dev/zero", "gray-25.onnx"):
            suffix = read_query({"name": name}, ["gray-25"]).suffix
            assert suffix in ("", ".png")
            with pytest.raises(UsageError, match="unknown model"):
                read_query({"model": name}, ["gray-25"])
    finally:
        here.clear()
    assert [one for one in opened if not str(one).endswith((".py", ".pyc"))] == []


def test_work_for_one_who_has_gone_is_given_up(worker, monkeypatch):
    data, statuses, work = make("PNG", "RGB", metadata=False), [], worker._answer
    monkeypatch.setattr(worker, "_answer", lambda *args: statuses.append(work(*args)))

    async def leave():
        task = asyncio.ensure_future(worker(data, Asked(ensemble=True)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(leave())
    assert [one.status for one in statuses] == [499]
    monkeypatch.undo()
    assert answer(worker, data).status == 200
    gone = threading.Event()
    gone.set()
    assert worker._answer(data, Asked(), gone).status == 499


def test_a_lost_device_is_told_to_ray(monkeypatch):
    worker = Worker(Offer({"gray-25": "gray-25"}, 10_000, RunOptions(1)))
    worker.check_health()

    def lose(*_):
        raise DeviceLostError("gone")

    monkeypatch.setattr(worker, "_denoiser", lose)
    assert answer(worker, make("PNG", "L", metadata=False)).status == 503
    with pytest.raises(DeviceLostError):
        worker.check_health()


@pytest.mark.parametrize(("error", "status"), [
    (TooManyPixels("x"), 413), (ImageError("x"), 400), (ShapeError("x"), 400),
    (UsageError("x"), 400), (ModelError("x"), 500), (AdnetError("x"), 500),
    (NotEnoughMemory("x"), 503), (DeviceError("x"), 500),
])  # fmt: skip
def test_status_of_an_error(error, status):
    assert failure_of(error, 100).status == status
    error.__cause__ = MemoryError()
    assert failure_of(error, 100).status in (413, 503)


def test_queries():
    models = ["a", "b"]
    assert read_query({}, models) == Asked()
    asked = read_query(
        {"model": "b", "strength": "0.5", "ensemble": "TRUE", "format": "JPG"}, models
    )
    assert asked == Asked("b", 0.5, True, ".jpg")
    assert read_query({"name": "x/y.Tiff"}, models).suffix == ".tiff"
    for wrong in ({"strength": "-0.1"}, {"strength": "1.01"}, {"strength": "nan"}, {"strength": ""},
                  {"ensemble": "2"}, {"format": "../x"}, {"format": ""}, {"model": ""},
                  {"Model": "a"}):  # fmt: skip
        with pytest.raises(UsageError):
            read_query(wrong, models)


def read(chunks, length=None, most=100, seconds=5.0, wait=0.0):
    async def stream():
        for chunk in chunks:
            await asyncio.sleep(wait)
            yield chunk

    return asyncio.run(read_body(stream(), length, most, seconds))


def test_bodies():
    assert read([b"ab", b"", b"c"]) == b"abc"
    assert read([b"x" * 100], "100") == b"x" * 100
    for status, got in {
        400: read([], None),
        413: read([b"x" * 60] * 2),
        408: read([b"x"] * 50, seconds=0.1, wait=0.01),
    }.items():
        assert isinstance(got, Answer)
        assert got.status == status
    assert read([b"x"], "101").status == 413
    assert read([b"x"], "9" * 5000).status == 413
    assert read([b"x"], "-1").status == 400


def test_tokens(tmp_path, monkeypatch):
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    assert read_token(None) is None
    assert is_allowed(None, None)
    file = tmp_path / "token"
    file.write_text(f"  {TOKEN}\n")
    assert read_token(file) == TOKEN.encode()
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN[::-1])
    assert read_token(None) == TOKEN[::-1].encode()
    assert read_token(file) == TOKEN.encode()
    for text in ("", "short", "with spaces in between", "ä" * 20):
        file.write_text(text)
        with pytest.raises(UsageError, match="at least 16"):
            read_token(file)
    with pytest.raises(UsageError, match="cannot be read"):
        read_token(tmp_path)
    token = TOKEN.encode()
    assert is_allowed(token, f"Bearer {TOKEN}")
    assert is_allowed(token, f"bearer  {TOKEN}")
    for wrong in (
        None,
        "",
        TOKEN,
        f"Basic {TOKEN}",
        f"Bearer {TOKEN[:-1]}",
        "Bearer \udcff",
        "Bearer",
    ):
        assert not is_allowed(token, wrong)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.org"])
def test_other_machines_only_with_a_token(host):
    with pytest.raises(UsageError, match="--no-token"):
        require_safe(host, None, open_to_all=False)
    require_safe(host, TOKEN.encode(), open_to_all=False)
    require_safe(host, None, open_to_all=True)
    require_safe("127.0.0.1", None, open_to_all=False)


def test_ray_alone_asks_for_a_token_and_tells_nobody(monkeypatch):
    names = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_USAGE_STATS_ENABLED",
             "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER")  # fmt: skip
    import os

    for name in names:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    prepare(alone=False)
    assert [name for name in names if name in os.environ] == ["RAY_USAGE_STATS_ENABLED"]
    os.environ["RAY_AUTH_MODE"] = "disabled"
    prepare(alone=True)
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def test_limits_and_replicas():
    for wrong in ({"queue": 0}, {"max_body": 0}, {"max_pixels": -1}, {"timeout": 0.0}):
        with pytest.raises(UsageError, match=next(iter(wrong)).replace("_", "-")):
            Limits(**wrong)
    for limits in (Limits(max_body=1), Limits(max_body=2**20), Limits(max_body=2**50)):
        shared = limits.shared_memory(in_work=4)
        assert shared >= 100 * 2**20
        assert shared < max(free_memory() * 0.5, 101 * 2**20)
    assert Limits(max_body=2**22, queue=16).shared_memory(in_work=4) == 40 * 2**22
    assert parse_replicas("3") == (3, 3)
    assert parse_replicas("1:8") == (1, 8)
    for wrong in ("0", "", "2:1", "1:2:3", "a", "1:", "-1"):
        with pytest.raises(UsageError, match="--replicas"):
            parse_replicas(wrong)


def test_models_on_offer(tmp_path):
    everything = offered_models([])
    assert next(iter(everything.items())) == ("auto", None)
    assert "gray-25" in everything
    file = tmp_path / "mine.onnx"
    file.write_bytes(b"x")
    assert offered_models(["gray-25", str(file)])["mine"] == str(file)
    with pytest.raises(UsageError, match="'mine'"):
        offered_models([str(file), str(file)])
    with pytest.raises(ModelError):
        offered_models(["gray-26"])


def test_one_denoiser_treats_images_in_several_ways():
    image = np.random.default_rng(0).integers(0, 255, (40, 40, 3)).astype(np.uint8)
    with Denoiser("gray-25", threads=1) as denoiser:
        for strength in (0.0, 0.3, 1.0):
            with Denoiser("gray-25", threads=1, strength=strength) as other:
                treated = denoiser.with_treatment(Treatment(strength=strength))
                np.testing.assert_array_equal(treated(image), other(image))
        with pytest.raises(UsageError, match="ensemble"):
            denoiser.with_treatment(Treatment(ensemble=True))


@pytest.mark.parametrize(("arguments", "told"), [
    (("--host", "0.0.0.0"), "--no-token"),
    (("--replicas", "x"), "--replicas"),
    (("--queue", "0"), "--queue"),
    (("--max-body", "x"), "--max-body"),
    (("--model", "nothing"), "nothing"),
])  # fmt: skip
def test_the_command_says_what_is_wrong(cli, arguments, told):
    assert_clean_error(cli("adnet-serve", *arguments), 2, told)


def test_without_ray_it_names_the_extra(cli):
    if importlib.util.find_spec("ray") is not None:
        pytest.skip("ray is installed")
    assert_clean_error(cli("adnet-serve"), 2, "ray is not installed", "[serve]")
