"""Forks with a model open, one child per case; prints what became of each. Run by test_fork.py.

python fork_cases.py BACKEND MODEL OPTIONS    (OPTIONS in JSON)
"""

import gc
import json
import os
import signal
import sys
import threading
import time

import numpy as np

from adnet.errors import UsageError
from adnet.runtime.denoiser import Denoiser

LIMIT_S = 20.0
BACKEND, MODEL, OPTIONS = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
IMAGE = np.random.default_rng(0).integers(0, 256, (64, 48), np.uint8)
BATCH = np.zeros((1, 1, 64, 48), np.float32)
SENTENCE = "'spawn' method"


def fork(act, end=os._exit):
    """What a child says, or `hangs`, and its exit status."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            act()
            said = "done"
        except UsageError as err:
            said = "refused" if SENTENCE in str(err) else repr(err)
        except BaseException as err:  # noqa: BLE001  (told to the parent)
            said = repr(err)
        os.write(writing, said.encode())
        end(0)
    os.close(writing)
    limit = time.monotonic() + LIMIT_S
    while time.monotonic() < limit:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            said = os.read(reading, 1000).decode()
            os.close(reading)
            return said if status == 0 else f"{said}, then status {status}"
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reading)
    return "hangs"


def cases(denoise):
    def collect():
        globals()["used"] = None
        gc.collect()

    def leave_block():
        with denoise:
            pass

    return {
        "call": fork(lambda: denoise(IMAGE)),
        "model_for": fork(lambda: denoise.model_for(1)),
        "describe": fork(denoise.describe),
        "close": fork(denoise.close),
        "with": fork(leave_block),
        "collect": fork(collect),
        "infer": fork(lambda: backend.infer(BATCH)),
        "close backend": fork(backend.close),
    }


used = Denoiser(MODEL, backend=BACKEND, **OPTIONS)
expected = used(IMAGE)
backend = used.model_for(1)
told = {f"idle: {name}": said for name, said in cases(used).items()}

stop = threading.Event()


def work():
    while not stop.is_set():
        used(IMAGE)


thread = threading.Thread(target=work)
thread.start()
told |= {f"busy: {name}": said for name, said in cases(used).items()}
stop.set()
thread.join()

never_used = Denoiser(MODEL, backend=BACKEND, **OPTIONS)
told["never used: call"] = fork(lambda: never_used(IMAGE))
told["never used: close"] = fork(never_used.close)


def open_anew():
    with Denoiser(MODEL, backend=BACKEND, **OPTIONS) as own:
        difference = np.abs(own(IMAGE).astype(int) - expected)
        assert difference.max() <= 1


told["anew"] = fork(open_anew)
told["end of the program"] = fork(lambda: None, sys.exit)
assert np.array_equal(used(IMAGE), expected)  # the parent's own goes on
used.close()
never_used.close()
sys.stdout.write(json.dumps(told))
