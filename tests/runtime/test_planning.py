"""Tiles and batches of every image by every kind of model; which models a run opens."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from adnet.errors import ShapeError, UsageError
from adnet.runtime import denoiser as denoiser_module
from adnet.runtime.backend import InputSpec
from adnet.runtime.denoiser import Denoiser
from adnet.runtime.folder import run_jobs
from adnet.runtime.jobs import plan_jobs
from adnet.runtime.planning import (
    DEFAULT_PIXELS,
    Wishes,
    plan_bands,
    plan_image,
    require_possible,
    shape_like,
)

HALO = 20
lengths = st.integers(1, 900)
sides = st.sampled_from([16, 41, 48, 64, 100, 256])
batches = st.integers(1, 8)

free = st.builds(lambda n: InputSpec(1, ((n, None, None),)), st.none() | batches)
fixed = st.builds(
    lambda shapes: InputSpec(1, tuple(sorted(shapes, key=str))),
    st.sets(st.tuples(st.none() | batches, sides, sides), min_size=1, max_size=5),
)
specs = free | fixed


def plan_or_none(spec, size, wishes, groups=1):
    try:
        require_possible(spec, wishes, "x")
        return plan_image(spec, size, HALO, wishes, "x", groups)
    except (ShapeError, UsageError):
        return None


@given(
    spec=specs, height=lengths, width=lengths, tile=st.none() | st.integers(41, 300),
    batch=st.none() | batches, pad=st.sampled_from([None, "reflect"]),
    groups=st.sampled_from([1, 3]),
)  # fmt: skip
def test_a_plan_covers_the_image_with_what_the_model_takes(
    spec, height, width, tile, batch, pad, groups
):
    size, wishes = (height, width), Wishes(tile, batch, pad)
    plan = plan_or_none(spec, size, wishes, groups)
    assume(plan is not None)
    covered = np.zeros(plan.padded, np.uint8)
    for one in plan.tiles:
        covered[one.core_rows, one.core_columns] += 1
        assert 0 <= one.rows.start < one.rows.stop <= plan.padded[0]
        assert 0 <= one.columns.start < one.columns.stop <= plan.padded[1]
        assert (one.rows.stop - one.rows.start, one.columns.stop - one.columns.start) == plan.tile
        for seen, core, length in (
            (one.rows, one.core_rows, plan.padded[0]),
            (one.columns, one.core_columns, plan.padded[1]),
        ):
            assert core.start - seen.start >= (HALO if seen.start > 0 else 0)
            assert seen.stop - core.stop >= (HALO if seen.stop < length else 0)
    assert (covered == 1).all()
    assert sum(used for used, _ in plan.batches) == len(plan.tiles) * groups
    for used, allotted in plan.batches:
        assert 0 < used <= allotted
        assert spec.takes(allotted, plan.tile)
    # Padded only where it must be and may be, and what is padded needs no more of it.
    assert plan.padded >= size
    if plan.padded != size:
        assert pad == "reflect"
        assert plan_or_none(spec, size, Wishes(tile, batch), groups) is None
        again = plan_image(spec, plan.padded, HALO, Wishes(tile, batch), "x", groups)
        assert again == plan
    if spec.sizes is None and tile is None:
        assert plan.tile[0] * plan.tile[1] <= DEFAULT_PIXELS
    elif spec.sizes is None:
        assert max(plan.tile) <= tile


@given(
    height=st.integers(1, 9000), width=st.integers(1, 9000), pixels=st.integers(64**2, 1024**2)
)  # fmt: skip
def test_tiles_of_so_many_pixels_at_most(height, width, pixels):
    """They cost no more than squares of as many pixels, and a band is cut as the whole image."""
    spec, wishes = InputSpec(1), Wishes(pixels=pixels)
    plan = plan_image(spec, (height, width), HALO, wishes, "x")
    assert plan.tile[0] * plan.tile[1] <= pixels
    bands = plan_bands(spec, (height, width), HALO, wishes, "x")
    across = [one.columns for one in plan.tiles if one.rows.start == 0]
    for rows, _ in bands:
        band = plan_image(spec, (rows.stop - rows.start, width), HALO, wishes, "x")
        assert [one.columns for one in band.tiles] == across
    assert len(bands) * len(across) == len(plan.tiles)


@pytest.mark.parametrize(
    ("size", "pixels", "most"),
    [
        ((2000, 3000), 1024**2, 1.05), ((3000, 2000), 1024**2, 1.05), ((3000, 4000), 1024**2, 1.08),
        ((4000, 3000), 1024**2, 1.08), ((4000, 6000), 1024**2, 1.075), ((400, 9000), 1024**2, 1.06),
        ((2000, 3000), 512**2, 1.16), ((1000, 1000), 1024**2, 1.0), ((1080, 1920), 1024**2, 1.045),
    ],
)  # fmt: skip
def test_halos_cost_little(size, pixels, most):
    plan = plan_image(InputSpec(1), size, HALO, Wishes(pixels=pixels), "x")
    work = len(plan.tiles) * plan.tile[0] * plan.tile[1]
    assert work <= most * size[0] * size[1]


@pytest.mark.slow
@given(spec=specs, height=lengths, width=lengths)
def test_of_several_sizes_the_one_with_the_least_work_is_taken(spec, height, width):
    assume(spec.sizes is not None)
    plan = plan_or_none(spec, (height, width), Wishes())
    assume(plan is not None)
    work = len(plan.tiles) * plan.tile[0] * plan.tile[1]
    for size in spec.sizes:
        alone = InputSpec(1, tuple(shape for shape in spec.shapes if shape[1:] == size))
        other = plan_or_none(alone, (height, width), Wishes())
        assert other is None or work <= len(other.tiles) * size[0] * size[1]


@given(spec=specs, batch=batches)
def test_a_batch_that_is_asked_for_is_kept_or_refused(spec, batch):
    wishes = Wishes(batch=batch)
    known = {shape[0] for shape in spec.shapes}
    if None not in known and batch not in known:
        with pytest.raises(UsageError, match=f"takes batches of .*, got batch {batch}"):
            require_possible(spec, wishes, "x")
        return
    require_possible(spec, wishes, "x")
    size = shape_like(spec, (64, 64))[1]
    plan = plan_or_none(spec, size, wishes, groups=3)
    allowed = spec.batches(plan.tile)
    if allowed is None or min(allowed) <= batch:
        assert max(allotted for _, allotted in plan.batches) <= batch


@given(spec=specs, height=lengths, width=lengths, count=batches)
def test_takes_says_what_check_lets_through(spec, height, width, count):
    _, size = shape_like(spec, (height, width))
    assert spec.takes(*shape_like(spec, (height, width)))
    for height_, width_ in (size, (height, width)):
        # Zeros without memory behind them would not be contiguous; one row is enough.
        batch = np.empty((count, 1, height_, width_), np.float32)
        try:
            spec.check(batch, "x")
        except ShapeError:
            assert not spec.takes(count, (height_, width_))
        else:
            assert spec.takes(count, (height_, width_))


@pytest.mark.parametrize("tile", [41, 512])
def test_a_tile_cannot_be_chosen_for_fixed_sizes(tile):
    with pytest.raises(UsageError, match=r"fixed sizes \(64x48\), so tile"):
        require_possible(InputSpec(1, ((1, 64, 48),)), Wishes(tile=tile), "x")


@pytest.mark.parametrize(
    "wish", [{"tile": 40}, {"tile": 0}, {"batch": 0}, {"batch": -1}, {"pad": "zero"}]
)
def test_wishes_out_of_range_are_refused(wish):
    with pytest.raises(UsageError, match=f"{next(iter(wish))} must be"):
        Wishes(**wish)


# --- which models are opened


@pytest.fixture
def opened(monkeypatch):
    """The names of the models that are opened, in order."""
    names = []

    def count(path, *arguments):
        names.append(path.stem)
        return real(path, *arguments)

    real = denoiser_module.open_backend
    monkeypatch.setattr(denoiser_module, "open_backend", count)
    return names


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ("L", ["gray-blind"]),
        ("LA", ["gray-blind"]),
        ("RGB", ["color-blind"]),
        ("RGB RGB", ["color-blind"]),
        ("RGBA", ["color-blind"]),
        ("L RGB", ["gray-blind", "color-blind"]),
        ("RGB L", ["color-blind", "gray-blind"]),
        ("broken", []),
        ("broken RGB", ["color-blind"]),
        ("", []),
    ],
)
def test_a_folder_opens_the_models_that_its_images_need(
    opened, tmp_path, make_image, kinds, expected
):
    for index, kind in enumerate(kinds.split()):
        path = tmp_path / "in" / f"{index}.png"
        if kind == "broken":
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"no image")
        else:
            make_image(path, kind, size=(30, 20))
    jobs = plan_jobs([tmp_path / "in"], tmp_path / "out") if kinds else []
    with Denoiser(streams=3) as denoiser:
        assert (opened, denoiser.lanes) == ([], 1)
        summary = run_jobs(jobs, denoiser)
        assert opened == expected
        assert denoiser.lanes == (3 if expected else 1)
        assert len(summary.failed) == kinds.count("broken")
        assert len(summary.written) == len(kinds.split()) - kinds.count("broken")


def test_what_is_there_already_opens_no_model(opened, tmp_path, make_image):
    make_image(tmp_path / "in" / "a.png")
    make_image(tmp_path / "out" / "a.png")
    with Denoiser() as denoiser:
        assert run_jobs(plan_jobs([tmp_path / "in"], tmp_path / "out"), denoiser).skipped == 1
    assert opened == []


def test_a_model_that_is_named_is_opened_at_once(opened):
    with Denoiser("gray-25", streams=2) as denoiser:
        assert (opened, denoiser.lanes) == (["gray-25"], 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"tile": 7}, "tile must be"), ({"threads": 0}, "threads must be"),
     ({"backend": "quantum"}, "unknown backend 'quantum'"), ({"backend": "om"}, "does not run")],
)  # fmt: skip
def test_what_can_be_known_without_a_model_is_refused_at_once(opened, options, message):
    with pytest.raises(UsageError, match=message):
        Denoiser(**options)
    assert opened == []


def test_a_device_that_is_missing_ends_the_run_and_leaves_no_folder(tmp_path, make_image):
    make_image(tmp_path / "in" / "a.png", "RGB")
    with Denoiser(provider="cann") as denoiser, pytest.raises(UsageError, match="cann"):
        run_jobs(plan_jobs([tmp_path / "in"], tmp_path / "out"), denoiser)
    assert not (tmp_path / "out").exists()
