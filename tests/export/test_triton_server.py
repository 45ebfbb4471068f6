"""What adnet-export triton writes, on the Triton binary of the wheel nvidia-pytriton.

It has no onnxruntime backend: mode tiles runs with a Python backend in its place, which feeds the
same ONNX file to ONNX Runtime; its config is otherwise the one that is written.
"""

import json
import re
import subprocess
import sys
import threading
import time
import urllib.request

import numpy as np
import pytest
from conftest import EXAMPLES
from image_files import make
from PIL import Image
from triton_server import triton_server

from adnet.export.triton.config import Serving
from adnet.export.triton.repository import write_repository
from adnet.images.image import read_image
from adnet.runtime.denoiser import Denoiser

pytest.importorskip("pytriton")
http = pytest.importorskip("tritonclient.http")
grpc = pytest.importorskip("tritonclient.grpc")
pytestmark = [pytest.mark.slow, pytest.mark.serving, pytest.mark.filterwarnings("default")]
CLIENTS = pytest.mark.parametrize("protocol", ["http", "grpc"])
STAND_IN = """
import pathlib
import onnxruntime
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        file = pathlib.Path(__file__).with_name("model.onnx")
        self.session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])

    def execute(self, requests):
        print("requests together:", len(requests), flush=True)
        answers = []
        for request in requests:
            image = pb_utils.get_input_tensor_by_name(request, "image").as_numpy()
            (out,) = self.session.run(["denoised"], {"image": image})
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("denoised", out)]))
        return answers
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("triton")
    serving = Serving(queue=2, threads=1, max_pixels=500_000)
    write_repository("gray-25", folder / "models", serving)
    with triton_server(folder / "models", folder) as running:
        yield running


@pytest.fixture(scope="module")
def denoiser():
    with Denoiser("gray-25", threads=1) as one:
        yield one


def client_of(server, protocol):
    if protocol == "http":
        return http, http.InferenceServerClient(server.http, network_timeout=120)
    return grpc, grpc.InferenceServerClient(server.grpc)


def ask(server, protocol, **values):
    """Return the outputs by name."""
    module, client = client_of(server, protocol)
    inputs = []
    for name, value in values.items():
        kind = "BYTES" if value.dtype == object else value.dtype.name.upper().replace("FLOAT", "FP")
        entry = module.InferInput(name, list(value.shape), kind)
        entry.set_data_from_numpy(value)
        inputs.append(entry)
    return client.infer("adnet", inputs)


def as_bytes(data: bytes):
    return np.array([data], np.object_)


@CLIENTS
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("shape", [(40, 52, 1), (52, 40, 3), (24, 30, 4)])
def test_pixels_are_the_denoisers(server, denoiser, protocol, dtype, shape):
    random = np.random.default_rng(1)
    image = random.random(shape, np.float32)
    if dtype != "float32":
        image = (image * np.iinfo(dtype).max).astype(dtype)
    ending = {"uint8": "", "uint16": "_uint16", "float32": "_fp32"}[dtype]
    got = ask(server, protocol, **{f"image{ending}": image}).as_numpy(f"denoised{ending}")
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, denoiser(image))


def test_json_without_a_client_library(server, denoiser):
    image = np.random.default_rng(2).integers(0, 255, (8, 9, 1)).astype(np.uint8)
    entry = {"name": "image", "shape": image.shape, "datatype": "UINT8", "data": image.tolist()}
    asked = urllib.request.Request(
        f"http://{server.http}/v2/models/adnet/infer",
        json.dumps({"inputs": [entry]}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(asked, timeout=60) as told:
        (output,) = json.load(told)["outputs"]
    got = np.array(output["data"], np.uint8).reshape(output["shape"])
    np.testing.assert_array_equal(got, denoiser(image))


@CLIENTS
@pytest.mark.parametrize(("kind", "mode"), [("PNG", "RGB"), ("JPEG", "L"), ("TIFF", "RGB"),
                                            ("WEBP", "RGB"), ("PNG", "LA")])  # fmt: skip
def test_files_are_those_of_adnet_run(server, cli, tmp_path, protocol, kind, mode):
    data = make(kind, mode, metadata=True)
    source = tmp_path / f"noisy.{kind.lower()}"
    source.write_bytes(data)
    done = cli("adnet-run", source, "-o", tmp_path / "out", "--model", "gray-25", "--threads", "1")
    assert done.returncode == 0, done.stderr
    got = ask(server, protocol, file=as_bytes(data)).as_numpy("denoised_file")[0]
    assert got == (tmp_path / "out" / source.name).read_bytes()


@CLIENTS
@pytest.mark.parametrize("values", [
    {"file": as_bytes(b"no image")},
    {"file": as_bytes(b"\x89PNG\r\n\x1a\n damaged")},
    {"image": np.zeros((1000, 501, 1), np.uint8)},
    {"image": np.zeros((10, 10, 5), np.uint8)},
    {"image": np.zeros((10, 10, 1), np.uint8), "image_fp32": np.zeros((10, 10, 1), np.float32)},
], ids=["no image", "damaged", "too large", "five planes", "two inputs"])  # fmt: skip
def test_what_is_wrong_with_a_request_is_told(server, protocol, values):
    from tritonclient.utils import InferenceServerException

    with pytest.raises(InferenceServerException) as told:
        ask(server, protocol, **values)
    expected = "400" if protocol == "http" else "StatusCode.INVALID_ARGUMENT"
    assert told.value.status() == expected
    assert len(told.value.message()) > 20


def test_beyond_the_queue_is_unavailable_and_health_answers_while_busy(server, denoiser):
    from tritonclient.utils import InferenceServerException

    image = np.random.default_rng(3).integers(0, 255, (320, 320, 1)).astype(np.uint8)
    expected, outcomes, lock = denoiser(image), [], threading.Lock()

    def call():
        try:
            got = ask(server, "grpc", image=image).as_numpy("denoised")
            outcome = "equal" if np.array_equal(got, expected) else "differs"
        except InferenceServerException as err:
            outcome = err.status()
        with lock:
            outcomes.append(outcome)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    waits = []
    while any(thread.is_alive() for thread in threads):
        begin = time.monotonic()
        assert server.is_ready()
        waits.append(time.monotonic() - begin)
        time.sleep(0.02)
    assert sorted(set(outcomes)) == ["StatusCode.UNAVAILABLE", "equal"], outcomes
    assert 3 <= outcomes.count("equal") <= 4, outcomes  # in work, and two that wait
    assert sorted(waits)[len(waits) // 2] < 0.5
    assert server.is_ready()


def test_the_binary_takes_the_config_of_tiles_up_to_the_missing_backend(tmp_path):
    """It reads every field and then says that it has no onnxruntime backend."""
    write_repository("gray-25", tmp_path / "models", Serving(mode="tiles"))
    with triton_server(tmp_path / "models", tmp_path, wait=False) as running:
        running.process.wait(60)
        log = running.log.read_text()
    assert "unable to find backend library for backend 'onnxruntime'" in log, log
    assert "failed to parse" not in log.lower()


def test_tiles_through_the_client(tmp_path, cli):
    source = tmp_path / "noisy.png"
    Image.open(EXAMPLES / "noisy" / "hills.png").crop((0, 0, 300, 200)).save(source)
    write_repository("gray-25", tmp_path / "models", Serving(mode="tiles", batch=4))
    config = tmp_path / "models" / "adnet" / "config.pbtxt"
    config.write_text(config.read_text().replace('"onnxruntime"', '"python"'))
    (tmp_path / "models" / "adnet" / "1" / "model.py").write_text(STAND_IN)
    client = tmp_path / "models" / "client.py"
    client.write_text(client.read_text().replace("_TILE = 512", "_TILE = 128"))
    with triton_server(tmp_path / "models", tmp_path) as running:
        done = subprocess.run(
            [sys.executable, client, source, tmp_path / "tiles.png", "--url", running.grpc],
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        log = running.log.read_text()
    assert re.search("requests together: [2-4]", log), log  # the dynamic batcher was at work
    whole = cli("adnet-run", source, "-o", tmp_path / "whole.png", "--model", "gray-25")
    assert whole.returncode == 0, whole.stderr
    ours, theirs = (read_image(tmp_path / f"{name}.png").pixels for name in ("whole", "tiles"))
    assert np.abs(ours.astype(int) - theirs).max() <= 1
    assert np.mean(ours != theirs) < 1e-4
