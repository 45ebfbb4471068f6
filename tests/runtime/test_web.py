"""adnet-web without a browser: its files are adnet-run's."""

import ast
import io
import json
import re
import socket
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from image_files import make
from PIL import Image

pytest.importorskip("starlette", reason="needs the extra web")
pytest.importorskip("uvicorn", reason="needs the extra web")
from web_server import Visitor, png

import adnet
from adnet.images.levels import WHITE
from adnet.runtime import loading
from adnet.runtime.denoiser import Denoiser
from adnet.runtime.folder import run_jobs
from adnet.runtime.jobs import Job
from adnet.runtime.loading import Limits
from adnet.runtime.web.words import on_page


def kinds() -> dict[str, bytes]:
    """Files of every format, mode and depth, with all metadata."""
    files = {}
    for kind, suffix in (("PNG", "png"), ("JPEG", "jpg"), ("TIFF", "tif"), ("WEBP", "webp"),
                         ("BMP", "bmp"), ("GIF", "gif")):  # fmt: skip
        for mode in ("L", "LA", "RGB", "RGBA", "P", "I;16"):
            if mode == "I;16":
                continue
            if (data := make(kind, mode, metadata=True)) is not None:
                files[f"{kind}-{mode}.{suffix}"] = data
    deep = np.linspace(0, 65535, 600).astype(np.uint16).reshape(20, 30)
    for suffix, pixels in (("png", deep), ("tif", deep), ("tiff", deep.astype(np.float32) / 65535)):
        data = io.BytesIO()
        Image.fromarray(pixels).save(data, "PNG" if suffix == "png" else "TIFF")
        files[f"deep.{suffix}"] = data.getvalue()
    return files


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"strength": 0.5, "model": "gray-25"}], ids=str)
def test_every_kind_of_file_is_adnet_runs(visitor, tmp_path, settings):
    files = kinds()
    assert len(files) > 15
    with Denoiser(**settings) as denoiser:
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
            key = visitor.bring(name, data)
            path = visitor.order(key, **settings)
            (result,) = visitor.wait(path)["results"]
            job = Job(tmp_path / name, tmp_path / f"out-{name}")
            summary = run_jobs([job], denoiser)
            if summary.failed:
                assert result["error"].split(": ", 1)[1] in summary.failed[0][1]
                continue
            status, headers, answer = visitor.raw("GET", f"{path}/0/file")
            assert status == 200, name
            assert answer == job.target.read_bytes(), name
            assert name in headers["Content-Disposition"]
            assert result["facts"]["model"] == settings.get("model", result["facts"]["model"])
            assert sum(result["facts"]["histogram"]) > 0
            for picture in ("noisy", "denoised", "noise", "comparison"):
                status, _, shown = visitor.raw("GET", f"{path}/0/{picture}.png")
                assert status == 200, (name, picture, shown)
                assert Image.open(io.BytesIO(shown)).mode in ("L", "RGB")
            visitor.json("DELETE", f"{visitor.visit}/files/{key}")


def test_several_files_come_as_a_zip_under_their_names(visitor):
    keys = [visitor.bring("same.png", png(seed=one)) for one in range(3)]
    keys.append(visitor.bring("bad.png", b"no picture"))
    path = visitor.order(*keys)
    told = visitor.wait(path)
    assert [bool(one["error"]) for one in told["results"]] == [False, False, False, True]
    assert "bad.png" in told["results"][3]["error"]
    assert "/" not in told["results"][3]["error"].split("bad.png")[0]  # no path of this machine
    _, _, data = visitor.raw("GET", f"{path}/zip")
    archive = zipfile.ZipFile(io.BytesIO(data))
    assert archive.namelist() == ["same.png", "same-2.png", "same-3.png"]
    assert archive.read("same-2.png") == visitor.raw("GET", f"{path}/1/file")[2]
    assert visitor.raw("GET", f"{path}/3/file")[0] == 404


def test_a_reference_gives_figures_and_a_difference(visitor):
    sample = visitor.json("POST", f"{visitor.visit}/files?sample=shapes")["file"]
    facts = visitor.wait(visitor.order(sample))["results"][0]["facts"]
    assert facts["psnr_after"] > facts["psnr_before"] + 5
    assert facts["ssim_after"] > facts["ssim_before"]
    assert facts["sigma"] == pytest.approx(25, abs=3)
    noisy, clean = visitor.bring("a.png", png(seed=1)), visitor.bring("b.png", png(seed=1))
    path = visitor.order(noisy, reference=clean)
    facts = visitor.wait(path)["results"][0]["facts"]
    assert facts["psnr_before"] is None  # equal: infinite
    assert facts["psnr_after"] > 20
    assert visitor.raw("GET", f"{path}/0/difference.png")[0] == 200


def float_tiff(value: float) -> bytes:
    data = io.BytesIO()
    Image.fromarray(np.full((40, 50), value, np.float32)).save(data, "TIFF")
    return data.getvalue()


WRONG_REFERENCES = {
    "higher.png": png(height=41), "narrower.png": png(width=49), "gray.png": png(channels=1),
    "no-picture.png": b"no picture", "empty.png": b"", "cut.png": png()[:400],
    "wrong.jpg": b"\xff\xd8\xff", "huge.png": png(600, 600, 1), "nan.tif": float_tiff(np.nan),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_REFERENCES)
def test_a_wrong_reference_costs_the_comparison_alone(visitor, name):
    noisy = visitor.bring("a.png", png())
    alone = visitor.order(noisy)
    expected = visitor.wait(alone)["results"][0]["facts"]
    pictures = {one: visitor.raw("GET", f"{alone}/0/{one}.png") for one in ("noise", "comparison")}
    path = visitor.order(noisy, reference=visitor.bring(name, WRONG_REFERENCES[name]))
    (result,) = visitor.wait(path)["results"]
    assert result["error"] is None
    (note,) = result["facts"].pop("notes")
    assert note.startswith(f"{name}: "), note
    assert "adnet-web" not in note  # no path of this machine
    assert "psnr_before" not in result["facts"]
    for one in (expected, result["facts"]):
        one.pop("seconds")
        one.pop("notes", None)
    assert result["facts"] == expected
    for one, (status, _, data) in pictures.items():
        assert status == 200
        assert visitor.raw("GET", f"{path}/0/{one}.png")[::2] == (200, data)
    assert visitor.raw("GET", f"{path}/0/difference.png")[0] == 400


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"strength": 2}, "strength must be from 0 to 1"),
        ({"model": "../../etc/passwd"}, "there is no model"),
        ({"backend": "nothing"}, "nothing"),
        ({"sigma": 25, "model": "gray-25", "ensemble": True, "fast": True, "where": "tpu"}, "tpu"),
        ({"fast": True, "model": "color-blind"}, "has no int8 model"),
        ({"fast": True}, "has no int8 model"),
        ({"black": 1}, "expected black below white"),
        ({"white": -0.5}, "expected black below white"),
    ],
)
def test_what_cannot_be_done_is_said(visitor, settings, told):
    path = visitor.order(visitor.bring("a.png", png()), **settings)
    answer = visitor.wait(path)
    assert answer["state"] == "failed"
    assert told in answer["error"]
    assert "--" not in answer["error"]


def test_the_queue_is_bounded_and_orders_can_be_cancelled(server, visitor):
    visitors = [visitor, *(Visitor(server[1]) for _ in range(3))]
    data = png(540, 540)  # four tiles
    keys = [one.bring("long.png", data) for one in visitors]
    first = visitor.order(keys[0])
    while visitor.json("GET", first)["state"] == "waiting":
        time.sleep(0.01)
    waiting = [(visitors[one], visitors[one].order(keys[one])) for one in (1, 2)]
    body = json.dumps({"files": [keys[3]]}).encode()
    status, _, answer = visitors[3].raw("POST", f"{visitors[3].visit}/orders", body)
    assert (status, "waiting" in answer.decode()) == (503, True)
    assert visitors[2].json("GET", waiting[1][1])["ahead"] == 2
    # A new order takes the place of the visitor's own.
    waiting[0] = visitors[1], visitors[1].order(keys[1])
    for one, path in waiting:
        assert one.json("DELETE", path)["state"] == "cancelled"
    visitor.json("DELETE", first)
    assert visitor.wait(first)["state"] == "cancelled"
    for one in visitors[1:]:
        one.raw("DELETE", one.visit)


def test_a_cut_off_upload_harms_nothing(server, visitor):
    host, port = server[1].removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as line:
        head = f"POST {visitor.visit}/files?name=a.png HTTP/1.1\r\nHost: {host}\r\n"
        line.sendall(f"{head}Content-Length: 900000\r\n\r\n".encode() + b"x" * 1000)
    visitor.wait(visitor.order(visitor.bring("b.png", png())))
    end = time.monotonic() + 5
    folder = next(server[0].folder.glob(f"*/{visitor.visit.split('/')[-1]}"))
    while len(list(folder.glob("*.png"))) > 1:  # the part is removed
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("white", [255.0, 4095.0, 65535.0])
def test_float_images_of_another_range(visitor, tmp_path, white):
    pixels = np.asarray(Image.open(io.BytesIO(png(channels=1))), np.float32) / WHITE
    Image.fromarray(pixels * np.float32(white)).save(tmp_path / "f.tif")
    key = visitor.bring("f.tif", (tmp_path / "f.tif").read_bytes())
    (result,) = visitor.wait(visitor.order(key))["results"]
    assert f"“Black, white”, such as 0,{white:g}" in result["error"]
    path = visitor.order(key, black=0, white=white)
    (result,) = visitor.wait(path)["results"]
    assert result["error"] is None
    assert result["facts"]["removed"] < 40  # of 255
    with Denoiser(value_range=(0, white)) as denoiser:
        job, limits = Job(tmp_path / "f.tif", tmp_path / "out.tif"), Limits(value_range=(0, white))
        assert not run_jobs([job], denoiser, limits=limits).failed
    assert visitor.raw("GET", f"{path}/0/file")[2] == (tmp_path / "out.tif").read_bytes()
    shown = visitor.raw("GET", f"{path}/0/noisy.png")[2]
    assert np.abs(np.asarray(Image.open(io.BytesIO(shown))) - WHITE * pixels).max() < 1


def messages() -> list[str]:
    """Whatever the readers and the runtime say of an image with names of options in it."""
    found = []
    folder = Path(adnet.__file__).parent
    for path in [*(folder / "images").rglob("*.py"), *Path(loading.__file__).parent.glob("*.py")]:
        tree = ast.parse(path.read_text())
        texts = (ast.unparse(one) for one in ast.walk(tree) if isinstance(one, ast.JoinedStr))
        found += [re.sub(r"\{[^}]*\}", "x", text) for text in texts if "--" in text]
    return found


def test_no_message_names_an_option():
    assert len(messages()) > 10
    for text in messages():
        assert " --" not in on_page(text, {})
    path = Path("/tmp/adnet-web-x/--key/--other.png")
    told = on_page(
        f"{path}: 9x9 is too much. If you trust the file, pass --max-pixels 99.", {path: "a--b.png"}
    )
    assert told == "a--b.png: 9x9 is too much. adnet-run takes larger ones."
    told = on_page("It takes 3G. Raise --max-memory by 1G, or run it elsewhere.", {})
    assert told == "It takes 3G. Run it elsewhere."
