from types import SimpleNamespace

import numpy as np
from bench_helpers import empty_result

from adnet.benchmarks import scaling
from adnet.runtime.backend import InputSpec, RunOptions


def test_batches_that_the_model_does_not_take_are_left_out():
    spec = InputSpec(1, ((2, 64, 48), (4, 64, 48)))

    def infer(batch):
        spec.check(batch, "x")
        return np.array(batch)

    candidate = SimpleNamespace(backend=SimpleNamespace(spec=spec, infer=infer))
    config = scaling.ScalingConfig(
        "onnx",
        "m",
        RunOptions(),
        (),
        batches=(1, 2, 3, 4),
        threads=(),
        streams=(),
        size=(64, 48),
        rounds=1,
    )
    result = empty_result()
    records = scaling._batches(candidate, config, result)
    assert [one.x for one in records] == [2, 4]
    assert {one.size for one in records} == {(64, 48)}  # so that two results can be told apart
    assert list(result.left_out) == ["batch 1", "batch 3"]
