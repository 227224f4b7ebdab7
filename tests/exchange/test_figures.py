"""The circuit diagram and the link graph: what touches what, what is said, what is left out."""

from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pytest

from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import CannotExpress
from circuitscope.core.rows import RowKey, Rows
from circuitscope.exchange.drawn_links import strongest_links
from circuitscope.exchange.figure import Box, Curves, Figure, Shape, Text, with_heads
from circuitscope.exchange.figures import circuit_figure, link_figure
from circuitscope.exchange.format import figure_of
from circuitscope.exchange.routing import sample
from circuitscope.exchange.theme import (
    DARK,
    PRESETS,
    PRINT,
    edge_width,
    mix,
    preset_named,
    share_text,
)
from circuitscope.exchange.typeface import elide, printable, text_width, wrap
from circuitscope.exchange.vector import svg_text
from circuitscope.graph.groups import fold

Drawn = tuple[Circuit, Rows]


def layer(figure: Figure, name: str):
    return next(found for found in figure.layers if found.id == name)


def overlap(a: Box, b: Box, slack: float = 0.01) -> bool:
    across = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
    down = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
    return across > slack and down > slack


def extent(text: Text) -> tuple[float, float]:
    width = text_width(text.text, text.size, text.weight, italic=text.italic)
    left = text.x - {"start": 0.0, "middle": width / 2, "end": width}[text.anchor]
    return left, left + width


def touching(boxes: dict[str, Box], point: np.ndarray, *, top: bool) -> Box:
    """Return the box on whose top or bottom edge a point lies."""
    x, y = point
    return next(
        box
        for box in boxes.values()
        if abs((box.y if top else box.y + box.height) - y) < 0.01
        and box.x <= x <= box.x + box.width
    )


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_boxes_and_numbers_of_the_diagram_never_overlap(dallas: Drawn, preset: str) -> None:
    figure = circuit_figure(*dallas, preset=PRESETS[preset])
    boxes, numbers = layer(figure, "nodes").boxes, layer(figure, "numbers").boxes
    assert len(boxes) == 8
    assert len(numbers) == len(layer(figure, "edges").curves) >= 10
    assert not [pair for pair in combinations([*boxes, *numbers], 2) if overlap(*pair)]


@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("draw", [circuit_figure, link_figure])
def test_everything_lies_on_the_page_and_can_be_read(dallas: Drawn, preset: str, draw) -> None:
    figure = draw(*dallas, preset=PRESETS[preset])
    assert figure.width == PRESETS[preset].width
    assert figure.smallest_text() >= 7
    for text in figure.texts():
        left, right = extent(text)
        assert left >= -0.01, text
        assert right <= figure.width + 0.01, text
        assert 0 < text.y < figure.height
    for box in (box for found in figure.layers for box in found.boxes):
        assert box.x >= 0
        assert box.x + box.width <= figure.width
        for text in box.texts:
            left, right = extent(text)
            assert box.x - 0.01 <= left <= right <= box.x + box.width + 0.01, text


def test_edges_leave_the_top_land_on_the_border_and_pass_no_box(dallas: Drawn) -> None:
    figure = circuit_figure(*dallas)
    boxes = {box.id: box for box in layer(figure, "nodes").boxes}
    curves = layer(figure, "edges").curves
    starts = curves.starts()
    for i, name in enumerate(curves.ids):
        pieces = curves.points[starts[i] : starts[i + 1]].astype(float)
        source = touching(boxes, pieces[0, 0], top=True)
        target = touching(boxes, pieces[-1, 3], top=False)
        points = sample(pieces)
        for box in boxes.values():
            if box not in (source, target):
                inside = (
                    (points[:, 0] > box.x + 1) & (points[:, 0] < box.x + box.width - 1)
                    & (points[:, 1] > box.y + 1) & (points[:, 1] < box.y + box.height - 1)
                )  # fmt: skip
                assert not inside.any(), f"{name} runs over {box.title}"


def test_negative_edges_are_orange_dashed_and_carry_a_real_minus(dallas: Drawn) -> None:
    figure = circuit_figure(*dallas)
    curves = layer(figure, "edges").curves
    numbers = [box.texts[0] for box in layer(figure, "numbers").boxes]
    assert curves.dashed.any()
    for i, number in enumerate(numbers):
        assert number.text.startswith("−" if curves.dashed[i] else "+")
        expected = "#C2571A" if curves.dashed[i] else "#2B6CB0"
        assert number.color == curves.colors[curves.color[i]] == expected


def test_the_title_is_the_prompt_and_its_answer_and_the_caption_says_what_was_fixed(
    dallas: Drawn,
) -> None:
    circuit = dallas[0]
    for figure in (circuit_figure(*dallas), link_figure(*dallas)):
        words = " ".join(text.text for text in figure.texts())
        assert figure.title == "the capital of the state containing Dallas is → Austin"
        assert figure.title in words
        for part in (
            "Attention patterns and norms held fixed.", "atlas-4L", "12 dictionaries",
            "secant MLPs", "error share", "replacement", circuit.digest[:8], "of 75 nodes",
        ):  # fmt: skip
            assert part in words, part
        assert figure.metadata["circuit"] == dallas[0].digest
        assert figure.metadata["provenance"]["method"] == "direct"
    assert "attention patterns and norms held fixed" in words, "the legend says it too"


def test_remarks_of_the_provenance_stand_in_the_caption(dallas: Drawn) -> None:
    circuit, rows = dallas
    remark = "Dictionary trained on A, used on B; explained variance here 0.71."
    circuit = replace(circuit, provenance=replace(circuit.provenance, remarks=(remark,)))
    assert remark in [text.text for text in circuit_figure(circuit, rows).texts()]


def test_remarks_that_repeat_are_said_once_with_their_number(dallas: Drawn) -> None:
    circuit, rows = dallas
    remarks = tuple(f"mlp_out_{i} was trained on A, variance here 0.9{i}." for i in range(8))
    circuit = replace(circuit, provenance=replace(circuit.provenance, remarks=remarks))
    figure = circuit_figure(circuit, rows)
    said = [text.text for text in figure.texts() if "trained on" in text.text]
    assert said == [f"{remarks[0]} 7 more remarks of this kind."]
    assert figure.metadata["provenance"]["remarks"] == list(remarks)


def test_small_type_names_counts_layers_tokens_and_probability(dallas: Drawn) -> None:
    boxes = layer(circuit_figure(*dallas), "nodes").boxes
    small = {box.texts[0].text: box.texts[-1].text for box in boxes}
    assert small["Texas"] == "6 features · L0–L1"
    assert small["Dallas"] == "token 7"
    assert small["Austin"] == "97 %"
    assert {box.id for box in boxes} >= {"g-Texas", "n-token-embed--1-7-17"}


SPOTS = {
    "Texas": (100, 400), "say_Austin": (500, 200), "say_a_capital": (100, 200),
    "other_states": (500, 400),
}  # fmt: skip


def placed(rows: Rows) -> Rows:
    return {**rows, **{RowKey("c", "place", k): {"x": x, "y": y} for k, (x, y) in SPOTS.items()}}


def test_places_of_the_user_are_exact_on_screen_and_kept_in_proportion_on_paper(
    dallas: Drawn,
) -> None:
    circuit, rows = dallas
    for preset in PRESETS.values():
        figure = circuit_figure(circuit, placed(rows), preset=preset)
        found, numbers = layer(figure, "nodes").boxes, layer(figure, "numbers").boxes
        assert not [pair for pair in combinations([*found, *numbers], 2) if overlap(*pair)]
        boxes = {box.id: box for box in found}
        assert boxes["g-Texas"].x == pytest.approx(boxes["g-say_a_capital"].x)
        assert boxes["g-Texas"].y > boxes["g-say_Austin"].y
        assert boxes["g-other_states"].x > boxes["g-Texas"].x
        if preset.name == "screen":
            assert (boxes["g-Texas"].x, boxes["g-Texas"].y) == (100, 400)


def test_boxes_far_to_the_right_widen_the_screen_but_never_the_paper(dallas: Drawn) -> None:
    circuit, rows = dallas
    keys = [str(circuit.nodes.key(i)) for i in range(len(circuit.nodes))]
    rows = placed(rows)
    rows[RowKey("c", "place", keys[2])] = {"x": 3000, "y": 410}
    assert circuit_figure(circuit, rows).width > 3000
    for name in ("1-column", "2-column", "slide"):
        figure = circuit_figure(circuit, rows, preset=PRESETS[name])
        assert figure.width == PRESETS[name].width
        boxes = layer(figure, "nodes").boxes
        assert not [pair for pair in combinations(boxes, 2) if overlap(*pair)]


def test_a_circuit_that_nobody_drew_shows_its_strongest_nodes(dallas: Drawn) -> None:
    circuit, _ = dallas
    figure = circuit_figure(circuit, {})
    boxes = layer(figure, "nodes").boxes
    assert 2 <= len(boxes) <= 15
    assert "Austin" in [box.texts[0].text for box in boxes]
    assert figure_of(circuit, {}).metadata["figure"] == "link_graph"
    assert figure_of(*dallas).metadata["figure"] == "circuit"


def test_drawing_twice_gives_the_same_figure(dallas: Drawn) -> None:
    for draw in (circuit_figure, link_figure):
        assert svg_text(draw(*dallas)) == svg_text(draw(*dallas))


def test_shapes_of_the_link_graph_tell_kinds(dallas: Drawn) -> None:
    glyphs = layer(link_figure(*dallas), "nodes").glyphs
    by_kind = {name.split("-")[1]: set() for name in glyphs.ids}
    for name, shape in zip(glyphs.ids, glyphs.shape.tolist(), strict=True):
        by_kind[name.split("-")[1]].add(Shape(shape))
    assert by_kind["token"] == by_kind["logit"] == {Shape.SQUARE}
    assert by_kind["feature"] == {Shape.DISC, Shape.TRIANGLE}


def test_the_theme_of_the_screen_has_the_same_structure(dallas: Drawn) -> None:
    light, dark = circuit_figure(*dallas), circuit_figure(*dallas, theme=DARK)
    assert dark.background == DARK.background
    assert [box.x for box in layer(light, "nodes").boxes] == [
        box.x for box in layer(dark, "nodes").boxes
    ]


def test_arrow_heads_end_where_their_curve_ended() -> None:
    line = Curves.lines([(0, 100, 0, 0)], "#000000", 2)
    curves = replace(line, arrow=np.array([10], np.float32))
    points, heads = with_heads(curves)
    assert heads[0, 0].tolist() == [0, 0]
    assert points[0, 3, 1] == pytest.approx(8)
    assert with_heads(line)[0][0, 3].tolist() == [0, 0]
    assert np.isnan(with_heads(line)[1]).all()


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.62, "+.62"), (-0.124, "−.12"), (1.0, "+1.00"), (-1.5, "−1.50"), (0.004, "+.00")],
)
def test_shares_are_written_as_in_print(share: float, text: str) -> None:
    assert share_text(share) == text


def test_text_is_measured_elided_and_wrapped() -> None:
    assert text_width("iii", 10) < text_width("WWW", 10)
    assert text_width("Texas", 20) == pytest.approx(2 * text_width("Texas", 10))
    assert text_width("Texas", 10, 700) > text_width("Texas", 10, 400)
    short = elide("a label that is much too long", 60, 10)
    assert short.endswith("…")
    assert text_width(short, 10) <= 60
    assert elide("fits", 60, 10) == "fits"
    assert elide("x", 0.5, 10) == ""
    assert all(text_width(line, 10) <= 80 for line in wrap("several words in a row here", 80, 10))
    assert printable("\n") == "↵"
    assert printable("  ") == "··"
    assert printable(" Dallas\x00") == "Dallas"


def test_small_rules_of_the_theme() -> None:
    assert mix("#000000", "#FFFFFF", 0.5) == "#808080"
    assert PRINT.hue("no such colour") == PRINT.groups["teal"]
    assert PRINT.hue("#123456") == "#123456"
    assert edge_width(1, 4) > edge_width(0.1, 4) > edge_width(0.0, 4) > 0
    with pytest.raises(CannotExpress) as caught:
        preset_named("poster")
    assert "1-column" in caught.value.hint


def test_a_box_that_only_weak_edges_reach_keeps_its_strongest(dallas: Drawn) -> None:
    subgraph = fold(*dallas, np.ones(len(dallas[0].nodes), np.bool_))
    alone = int(subgraph.source[np.argmax(np.abs(subgraph.share))])
    touches = (subgraph.source == alone) | (subgraph.target == alone)
    weak = replace(subgraph, share=np.where(touches, 0.02, subgraph.share).astype(np.float32))
    some, left_out = strongest_links(weak)
    assert alone not in {end for link in some for end in (link.source, link.target)}
    every, fewer = strongest_links(weak, reach_all=True)
    assert (len(every), fewer) == (len(some) + 1, left_out - 1)
    assert alone in {end for link in every for end in (link.source, link.target)}
    nothing = replace(subgraph, share=np.where(touches, 0.001, subgraph.share).astype(np.float32))
    assert strongest_links(nothing, reach_all=True)[0] == strongest_links(nothing)[0]


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_crowded_tokens_never_overlap_and_those_drawn_are_named(dallas: Drawn, preset: str) -> None:
    circuit, rows = dallas
    figure = link_figure(circuit, rows, preset=PRESETS[preset])
    texts = [text for text in figure.texts() if text.text.rstrip("…") and text.anchor == "end"]
    strip = max(text.y for text in texts if text.text.startswith("Dallas"))
    named = sorted((extent(text), text.text) for text in texts if text.y == strip)
    assert all(a[0][1] < b[0][0] for a, b in pairwise(named))
    words = [text for _, text in named]
    assert "Dallas" in words
    assert words[-1] == "is"
    assert "…" not in words
