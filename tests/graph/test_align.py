"""Boxes lined up and spaced evenly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuitscope.graph.align import align, distribute

sizes = st.floats(1, 200)
places = st.floats(-500, 500)
boxes = st.lists(st.tuples(places, places, sizes, sizes), min_size=1, max_size=8).map(np.array)


@given(boxes)
def test_every_edge_is_shared_and_the_other_axis_stays(rects: np.ndarray) -> None:
    for edge, axis, share in (
        ("left", 0, 0), ("centre", 0, 0.5), ("right", 0, 1),
        ("top", 1, 0), ("middle", 1, 0.5), ("bottom", 1, 1),
    ):  # fmt: skip
        out = align(rects, edge)
        lines = out[:, axis] + share * rects[:, axis + 2]
        assert np.ptp(lines) == pytest.approx(0, abs=1e-6)
        np.testing.assert_array_equal(out[:, 1 - axis], rects[:, 1 - axis])
        assert lines[0] >= rects[:, axis].min() - 1e-6
        assert lines[0] <= (rects[:, axis] + rects[:, axis + 2]).max() + 1e-6


@given(boxes)
def test_gaps_are_equal_and_the_ends_stay(rects: np.ndarray) -> None:
    for name, axis in (("across", 0), ("down", 1)):
        out = distribute(rects, name)
        order = np.argsort(rects[:, axis] + rects[:, axis + 2] / 2, kind="stable")
        first, last = order[0], order[-1]
        assert out[first, axis] == pytest.approx(rects[first, axis])
        assert out[last, axis] == pytest.approx(rects[last, axis], abs=1e-6)
        if len(rects) > 2:
            ends = out[order, axis] + rects[order, axis + 2]
            gaps = out[order, axis][1:] - ends[:-1]
            assert np.ptp(gaps) == pytest.approx(0, abs=1e-6)
