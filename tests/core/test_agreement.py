"""Orders are compared as textbooks do, ties included."""

import numpy as np
import pytest

from circuitscope.core.agreement import area_under_curve, compare_heads, ranks, spearman


def test_ranks_share_ties() -> None:
    assert ranks([3.0, 1.0, 3.0, 2.0]).tolist() == [3.5, 1.0, 3.5, 2.0]


def test_spearman_of_known_orders() -> None:
    assert spearman([1, 2, 3, 4], [10, 20, 30, 40]) == pytest.approx(1)
    assert spearman([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    # By hand: rank differences 0, -1, 1, 0 give 1 - 6 * 2 / (4 * 15).
    assert spearman([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx(0.8)
    assert np.isnan(spearman([1, 1], [1, 2]))


def test_area_counts_pairs_in_the_right_order() -> None:
    assert area_under_curve([0.9, 0.8, 0.1], [True, True, False]) == 1
    assert area_under_curve([0.1, 0.8, 0.9], [True, False, False]) == 0
    assert area_under_curve([1, 2, 2, 3], [False, True, False, True]) == pytest.approx(3.5 / 4)
    assert np.isnan(area_under_curve([1, 2], [True, True]))


def test_disagreements_are_what_only_one_has_at_the_top() -> None:
    influence = np.array([[0.5, 0.1], [0.3, 0.0]])
    relevance = np.array([[-2.0, 0.1], [0.2, 1.0]])
    found = compare_heads(influence, relevance, np.array([[True, False], [False, True]]), 0.8)
    assert [(row.layer, row.head) for row in found.top] == [(0, 0), (1, 0)]
    assert [(row.layer, row.head) for row in found.only_dictionary] == [(1, 0)]
    assert [(row.layer, row.head) for row in found.only_contextual] == [(1, 1)]
    assert found.auc == pytest.approx(0.5)
    assert found.projected == 0.8
