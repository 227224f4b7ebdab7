"""Places of the link graph and of the circuit view."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitscope.core.anatomy import Site
from circuitscope.core.circuit import Circuit, EdgeTable, NodeTable
from circuitscope.core.finding import Provenance
from circuitscope.core.keys import NodeKind
from circuitscope.graph.crossings import crossings
from circuitscope.graph.layered import Gaps, LayoutBox, circuit_layout
from circuitscope.graph.layout import Spacing, link_layout, row_numbers


def random_circuit(n: int, seed: int, n_layers: int = 6, n_tokens: int = 9) -> Circuit:
    rng = np.random.default_rng(seed)
    kinds = rng.choice(
        [NodeKind.TOKEN, NodeKind.FEATURE, NodeKind.ERROR, NodeKind.LOGIT, NodeKind.BIAS], n,
        p=[0.1, 0.7, 0.1, 0.05, 0.05],
    )  # fmt: skip
    attention = rng.random(n) < 0.4
    site = np.where(attention, Site.ATTN_OUT, Site.MLP_OUT)
    layer = rng.integers(0, n_layers, n)
    layer = np.where(
        kinds == NodeKind.TOKEN, -1, np.where(kinds == NodeKind.LOGIT, n_layers, layer)
    )
    position = np.where(kinds == NodeKind.BIAS, -1, rng.integers(0, n_tokens, n))
    nodes = NodeTable(
        kinds, site, layer, position, np.arange(n), np.ones(n), rng.random(n).astype(np.float32)
    )
    roots = np.flatnonzero(kinds == NodeKind.LOGIT)
    none = np.zeros(0, np.int32)
    zeros = np.zeros(n, np.float32)
    return Circuit(
        tuple(f"token{i}" for i in range(n_tokens)), tuple(range(n_tokens)), nodes,
        EdgeTable(none, none, none.astype(np.float32), none.astype(np.uint8)),
        roots, np.linspace(0.1, 0.9, len(roots)) if len(roots) else np.zeros(0),
        zeros, zeros, zeros, zeros > 1, Provenance("made up"),
    )  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 160), st.integers(0, 2**31), st.floats(0, 1))
def test_no_two_nodes_of_the_link_graph_overlap(n: int, seed: int, shown: float) -> None:
    circuit = random_circuit(n, seed)
    visible = np.random.default_rng(seed).random(n) < shown
    space = Spacing()
    layout = link_layout(circuit, visible)
    x, y = layout.x[visible], layout.y[visible]
    assert np.isfinite(x).all()
    assert np.isnan(layout.x[~visible]).all()
    apart = np.maximum(
        np.abs(x[:, None] - x[None]) / space.node, np.abs(y[:, None] - y[None]) / space.row
    )
    assert (apart[~np.eye(len(x), dtype=bool)] > 0.999).all()
    for band, column in enumerate(layout.columns):
        inside = layout.x[layout.column == band]
        assert (inside > column.start).all()
        assert (inside < column.stop).all()
    again = link_layout(circuit, visible)
    assert layout.x.tobytes() == again.x.tobytes()
    assert layout.rows == again.rows


def test_rows_run_from_embed_to_logits_and_only_those_that_occur(small_circuit: Circuit) -> None:
    visible = ~small_circuit.nodes.of_kind(NodeKind.BIAS)
    layout = link_layout(small_circuit, visible)
    assert [row.label for row in layout.rows] == ["Embed", "L0 attn", "L0 mlp", "L1 mlp", "Logits"]
    assert all(a.start > b.start for a, b in zip(layout.rows, layout.rows[1:], strict=False))
    assert layout.columns[0].key == 2, "columns begin at the earliest token with a node"
    assert layout.columns[-1].label == "is"


def test_constants_stand_in_a_gutter_on_the_left_when_shown(small_circuit: Circuit) -> None:
    layout = link_layout(small_circuit, np.ones(len(small_circuit.nodes), bool))
    assert (layout.columns[0].label, layout.columns[0].key) == ("constants", -1)
    bias = int(np.flatnonzero(small_circuit.nodes.of_kind(NodeKind.BIAS))[0])
    assert layout.column[bias] == 0


def test_logits_fall_from_left_to_right_and_the_strongest_feature_is_rightmost() -> None:
    circuit = random_circuit(400, 3, n_layers=1, n_tokens=1)
    layout = link_layout(circuit, np.ones(400, bool))
    logits = circuit.roots
    assert (np.diff(layout.x[logits][np.argsort(-circuit.root_weights)]) > 0).all()
    features = np.flatnonzero(
        circuit.nodes.of_kind(NodeKind.FEATURE) & (row_numbers(circuit.nodes) == 1)
    )
    assert (
        features[np.argmax(layout.x[features])]
        in features[np.argsort(-circuit.nodes.influence[features])[:2]]
        or circuit.nodes.of_kind(NodeKind.ERROR).any()
    )


def test_tightening_the_threshold_moves_no_node_that_stays_within_its_column() -> None:
    circuit = random_circuit(200, 5)
    every = np.ones(200, bool)
    strong = circuit.nodes.influence > 0.4
    wide, narrow = link_layout(circuit, every), link_layout(circuit, strong)

    def from_right(layout, i):
        return layout.columns[layout.column[i]].stop - layout.x[i]

    for i in np.flatnonzero(strong & circuit.nodes.of_kind(NodeKind.FEATURE)):
        assert from_right(narrow, i) == pytest.approx(from_right(wide, i), abs=1e-3)


def test_a_column_has_room_for_its_token() -> None:
    circuit = random_circuit(30, 1)
    widths = np.full(9, 100.0)
    widths[4] = 300.0
    layout = link_layout(circuit, np.ones(30, bool), token_widths=widths)
    column = next(band for band in layout.columns if band.key == 4)
    assert column.stop - column.start >= 300.0


def test_ten_thousand_nodes_are_placed_in_fifty_milliseconds() -> None:
    circuit = random_circuit(10_000, 0, n_layers=26, n_tokens=30)
    visible = np.ones(10_000, bool)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        link_layout(circuit, visible)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.05


def boxes_from(draw: st.DrawFn) -> tuple[list[LayoutBox], list[tuple[int, int]], float]:
    n = draw(st.integers(1, 24))
    boxes = [
        LayoutBox(
            draw(st.floats(20, 200)), draw(st.floats(20, 60)), draw(st.integers(-1, 12)) * 1.0,
            draw(st.one_of(st.just(float("nan")), st.floats(0, 30))),
            draw(st.sampled_from(["", "", "", "bottom", "top"])),
        )
        for _ in range(n)
    ]  # fmt: skip
    index = st.integers(0, n - 1)
    edges = draw(st.lists(st.tuples(index, index).filter(lambda e: e[0] != e[1]), max_size=40))
    return boxes, edges, draw(st.sampled_from([220.0, 480.0, float("inf")]))


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_no_two_boxes_of_the_circuit_view_overlap(data: st.DataObject) -> None:
    boxes, edges, most = data.draw(st.composite(boxes_from)())
    places = circuit_layout(boxes, edges, Gaps(most=most))
    size = np.array([(box.width, box.height) for box in boxes])
    low, high = places, places + size
    across = np.minimum(high[:, None, 0], high[None, :, 0]) - np.maximum(
        low[:, None, 0], low[None, :, 0]
    )
    down = np.minimum(high[:, None, 1], high[None, :, 1]) - np.maximum(
        low[:, None, 1], low[None, :, 1]
    )
    overlap = (across > 1e-6) & (down > 1e-6)
    assert not overlap[~np.eye(len(boxes), dtype=bool)].any()
    assert np.allclose(places.min(axis=0), 0)
    assert high[:, 0].max() <= max(most, max(box.width for box in boxes)) + 1e-6 or most == np.inf
    assert np.array_equal(places, circuit_layout(boxes, edges, Gaps(most=most)))


def test_sources_stand_below_their_targets_and_tokens_in_reading_order() -> None:
    boxes = [LayoutBox(60, 30, -1, position, "bottom") for position in (7.0, 2.0, 5.0)]
    boxes += [LayoutBox(80, 40, rank, 7.0) for rank in (1, 2, 5)]
    boxes += [LayoutBox(80, 40, 9, 7.0, "top")]
    edges = [(0, 3), (1, 4), (2, 4), (3, 4), (4, 5), (5, 6), (3, 6)]
    places = circuit_layout(boxes, edges)
    for source, target in edges:
        assert places[target, 1] + boxes[target].height < places[source, 1]
    assert places[1, 0] < places[2, 0] < places[0, 0]


def test_crossings_that_can_be_avoided_are() -> None:
    boxes = [LayoutBox(40, 20, -1, float(i), "bottom") for i in range(4)]
    boxes += [LayoutBox(40, 20, 4, float("nan")) for _ in range(4)]
    edges = [(i, 7 - i) for i in range(4)]
    places = circuit_layout(boxes, edges)
    assert list(np.argsort(places[4:, 0])) == [3, 2, 1, 0]
    assert crossings([[0, 1], [2, 3]], [[(0, 3), (1, 2)]]) == 1


def test_nothing_to_place_is_fine() -> None:
    assert circuit_layout([], []).shape == (0, 2)
    circuit = random_circuit(5, 0)
    assert link_layout(circuit, np.zeros(5, bool)).rows == ()


def planted_without_crossings(
    seed: int, levels: int = 5, width: int = 6
) -> tuple[list[LayoutBox], list[tuple[int, int]]]:
    """Return a graph that can be drawn without crossings, its boxes in no order above the first."""
    rng = np.random.default_rng(seed)
    upper = rng.permutation([(row, i) for row in range(1, levels) for i in range(width)])
    order = [(0, i) for i in range(width)] + [(int(row), int(i)) for row, i in upper]
    number = {place: n for n, place in enumerate(order)}
    boxes = [
        LayoutBox(60, 30, 10.0 * row if row else -1.0, float(i) if not row else float("nan"),
                  "" if row else "bottom")
        for row, i in order
    ]  # fmt: skip
    pairs = [(row, i, j) for row in range(levels - 1) for i in range(width) for j in (i, i + 1)]
    edges = [
        (number[row, i], number[row + 1, j])
        for row, i, j in pairs if j < width and rng.random() < 0.8
    ]  # fmt: skip
    return boxes, edges


def drawn_crossings(boxes: list[LayoutBox], edges: list[tuple[int, int]], x: np.ndarray) -> int:
    rows = sorted({box.rank for box in boxes})
    order = [sorted((i for i, box in enumerate(boxes) if box.rank == row), key=lambda i: x[i])
             for row in rows]  # fmt: skip
    links = [[edge for edge in edges if boxes[edge[0]].rank == row] for row in rows[:-1]]
    return crossings(order, links)


def test_planted_graphs_are_drawn_nearly_without_crossings() -> None:
    found, by_chance, clean = 0, 0, 0
    for seed in range(12):
        boxes, edges = planted_without_crossings(seed)
        x = circuit_layout(boxes, edges)[:, 0]
        number = drawn_crossings(boxes, edges, x)
        clean += not number
        found += number
        start = np.where([box.end == "bottom" for box in boxes], x, np.arange(len(boxes)))
        by_chance += drawn_crossings(boxes, edges, start)
    assert by_chance > 300
    assert found <= 0.02 * by_chance
    assert clean >= 9
