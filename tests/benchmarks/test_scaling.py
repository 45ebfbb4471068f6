from types import SimpleNamespace

import numpy as np

from adnet.benchmarks import scaling
from adnet.benchmarks.results import new_result
from adnet.runtime.backend import InputSpec


def test_batches_that_the_model_does_not_take_are_left_out():
    spec = InputSpec(1, ((2, 64, 48), (4, 64, 48)))

    def infer(batch):
        spec.check(batch, "x")
        return np.array(batch)

    subject = SimpleNamespace(backend=SimpleNamespace(spec=spec, infer=infer))
    config = scaling.ScalingConfig(
        "onnx", "m", {}, (), batches=(1, 2, 3, 4), threads=(), streams=(), size=(64, 48), rounds=1
    )
    result = new_result({})
    entries = scaling._batches(subject, config, result)
    assert [entry["x"] for entry in entries] == [2, 4]
    assert list(result["left_out"]) == ["batch 1", "batch 3"]
