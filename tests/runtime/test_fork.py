"""A model that was opened before a fork: its child is refused at once, and never hangs."""

import json
import os
import subprocess
import sys

import pytest
from om_helpers import FAKES, make_om

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

KINDS = [
    ("onnx", {}),
    ("onnx", {"threads": 1}),
    ("onnx", {"streams": 2}),
    pytest.param("torch", {"device": "cpu"}, marks=pytest.mark.torch),
    ("om", {}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "options"), KINDS)
def test_a_forked_child_never_hangs(backend, options, tmp_path):
    model = make_om(tmp_path / "m.om") if backend == "om" else "gray-blind"
    result = subprocess.run(
        [sys.executable, str(FAKES.parent / "fork_cases.py"),
         backend, model, json.dumps(options)],
        env=os.environ | {"PYTHONPATH": str(FAKES)},
        capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    may_open_anew = backend != "om"  # ACL does not survive a fork at all
    for case, said in told.items():
        name = case.partition(": ")[2]
        works = name not in ("call", "model_for", "describe", "infer")
        works = may_open_anew if case == "anew" else works
        assert said == ("done" if works else "refused"), told


@pytest.mark.torch
def test_torch_in_a_forked_child_has_one_thread(monkeypatch):
    """Threads that were asked for are refused, not taken away in silence."""
    import torch

    from adnet.errors import UsageError
    from adnet.models.shipped import WEIGHTS
    from adnet.runtime import fork
    from adnet.runtime.backend import RunOptions
    from adnet.runtime.registry import open_backend

    before = torch.get_num_threads()
    monkeypatch.setattr(fork, "_torch_before_fork", True)
    try:
        for threads in (None, 1):
            options = RunOptions(device="cpu", threads=threads)
            with open_backend(WEIGHTS / "gray-blind.onnx", "torch", options) as backend:
                assert backend.describe()["threads"] == "1"
        with pytest.raises(UsageError, match="expected 1 thread, got 2.*'spawn'"):
            open_backend(WEIGHTS / "gray-blind.onnx", "torch", RunOptions(device="cpu", threads=2))
    finally:
        torch.set_num_threads(before)
