"""Ctrl-C ends a run, whatever thread of it the system gives the signal to."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from adnet.runtime.denoiser import Denoiser
from adnet.runtime.folder import run_jobs
from adnet.runtime.jobs import plan_jobs

LONG = 20.0
"""Seconds that an image takes unless it is stopped."""


class Slow(Denoiser):
    """Takes the signal itself, as a thread that was starting just then may, and goes on."""

    has_ended = False

    def __call__(self, image, on_pixels=None, **_):
        time.sleep(0.5)  # until the main thread waits
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        end = time.monotonic() + LONG
        while time.monotonic() < end:
            on_pixels(0)
            time.sleep(0.02)
        self.has_ended = True
        return np.asarray(image)


def test_a_signal_that_another_thread_took(tmp_path, make_image):
    make_image(tmp_path / "in" / "a.png")
    with Slow("gray-blind") as slow, pytest.raises(KeyboardInterrupt):
        run_jobs(plan_jobs([tmp_path / "in"], tmp_path / "out"), slow)
    assert not slow.has_ended  # at its end it would be noticed in any case


@pytest.mark.parametrize("reads", [True, False])
def test_the_second_ends_at_once_though_nobody_reads_what_it_says(reads):
    """As in `adnet-run ... 2>&1 | head -1`."""
    program = """
import time
from adnet._cli import reports_errors

@reports_errors
def command():
    try:
        print("here", flush=True)
        time.sleep(60)
    finally:
        print("stopping", flush=True)
        time.sleep(60)

command()
"""
    ours, theirs = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=theirs, text=True
    )
    os.close(theirs)
    if not reads:
        os.close(ours)
    with process:
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "stopping\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    if reads:
        with os.fdopen(ours) as told:
            assert told.read() == "error: interrupted twice; ended at once.\n"
