import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adnet.errors import ShapeError
from adnet.runtime.tiling import balanced_tile, fits, plan_batches, plan_tiles

lengths = st.integers(1, 400)
halos = st.integers(0, 24)


@given(height=lengths, width=lengths, halo=halos, room=st.integers(4, 200))
def test_cores_cover_every_pixel_once_and_keep_their_distance(height, width, halo, room):
    limit = 2 * halo + room
    tile = (balanced_tile(height, limit, halo), balanced_tile(width, limit, halo))
    assert max(tile) <= max(limit, 1)
    covered = np.zeros((height, width), int)
    for one in plan_tiles((height, width), tile, halo):
        covered[one.core_rows, one.core_columns] += 1
        for seen, core, length, size in (
            (one.rows, one.core_rows, height, tile[0]),
            (one.columns, one.core_columns, width, tile[1]),
        ):
            assert 0 <= seen.start < seen.stop <= length
            assert seen.stop - seen.start == size
            assert core.start - seen.start >= (halo if seen.start > 0 else 0)
            assert seen.stop - core.stop >= (halo if seen.stop < length else 0)
        rows, columns = one.core_within
        assert rows.start >= 0
        assert columns.start >= 0
    assert (covered == 1).all()


def test_balancing_needs_no_more_tiles_and_less_work():
    assert balanced_tile(600, 512, 20) == 320
    assert len(plan_tiles((600, 600), (320, 320), 20)) == 4


@pytest.mark.parametrize("tile", [1, 40])
def test_a_tile_without_room_for_a_core_is_refused(tile):
    with pytest.raises(ShapeError, match="at least 41"):
        balanced_tile(100, tile, 20)
    with pytest.raises(ShapeError, match="at least 41"):
        plan_tiles((100, 100), (tile, tile), 20)


def test_a_tile_larger_than_the_image_is_refused():
    with pytest.raises(ShapeError, match="larger than the image"):
        plan_tiles((30, 100), (64, 64), 20)


@given(
    count=st.integers(0, 70),
    batches=st.sets(st.integers(1, 16), min_size=1, max_size=4),
)
def test_batches_cover_all_tiles_with_the_least_padding(count, batches):
    planned = list(plan_batches(count, sorted(batches), preferred=1))
    assert sum(used for used, _ in planned) == count
    assert all(0 < used <= batch and batch in batches for used, batch in planned)
    work = sum(batch for _, batch in planned)
    if 1 in batches:
        assert work == count
    # Never more than filling up the last largest batch.
    assert work <= -(-count // max(batches)) * max(batches)


def test_batches_of_a_free_model():
    assert list(plan_batches(7, None, preferred=3)) == [(3, 3), (3, 3), (1, 1)]
    assert list(plan_batches(13, (1, 4, 8), preferred=1)) == [(8, 8), (4, 4), (1, 1)]
    assert list(plan_batches(7, (4, 8), preferred=1)) == [(7, 8)]


@given(tile=st.integers(1, 200), length=st.integers(1, 400))
def test_fits_tells_what_can_be_planned(tile, length):
    try:
        plan_tiles((length, length), (tile, tile), 20)
    except ShapeError:
        planned = False
    else:
        planned = True
    assert fits(tile, length, 20) == planned
