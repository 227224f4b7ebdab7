"""What is drawn by hand: seen in every figure, never taken for evidence."""

from itertools import pairwise
from pathlib import Path

import pytest

from circuitscope.core.binding import Binding
from circuitscope.core.circuit import Circuit
from circuitscope.core.rows import RowKey, Rows
from circuitscope.exchange.figure import Figure
from circuitscope.exchange.figures import circuit_figure
from circuitscope.exchange.format import Document, export
from circuitscope.exchange.markdown import set_markdown
from circuitscope.exchange.theme import PRESETS
from circuitscope.exchange.typeface import text_width

Drawn = tuple[Circuit, Rows]


@pytest.fixture
def annotated(dallas: Drawn) -> Drawn:
    circuit, rows = dallas
    figure = circuit_figure(circuit, rows)
    boxes = layer(figure, "nodes").boxes
    made: Rows = dict(rows)
    pins = [key.id for key in rows if key.kind == "pin"]
    first, x, y = pins[0], boxes[0].x, boxes[0].y
    made[RowKey("c", "sketch_node", "aa")] = {"label": "syntax", "x": 40.0, "y": 200.0}
    made[RowKey("c", "sketch_edge", "bb")] = {"source": "aa", "target": first, "label": "guess"}
    made[RowKey("c", "sketch_edge", "dd")] = {"source": "aa", "target": "gone"}
    made[RowKey("c", "note", "cc")] = {
        "text": "# Why\nno **Austin** here", "x": 620.0, "y": 300.0, "width": 160.0,
        "about": str(Binding((first,))),
    }  # fmt: skip
    made[RowKey("c", "frame", "ee")] = {
        "title": "Prompt",
        "x": x - 20,
        "y": y - 30,
        "width": 200.0,
        "height": 90.0,
    }
    return circuit, made


def layer(figure: Figure, name: str):
    return next(found for found in figure.layers if found.id == name)


def test_hand_made_nodes_and_edges_are_dashed_grey_and_said(annotated: Drawn) -> None:
    figure = circuit_figure(*annotated)
    sketches = layer(figure, "sketches")
    node, note, label = sketches.boxes
    assert node.dashed
    assert [text.text for text in node.texts] == ["syntax", "by hand"]
    assert (note.id, label.texts[0].text) == ("t-cc", "guess")
    assert len(sketches.curves) == 1
    assert sketches.curves.dashed.all()
    assert not set(sketches.curves.colors) & set(layer(figure, "edges").curves.colors)
    assert "no evidence" in figure.description
    shares = {box.texts[0].text for box in layer(figure, "numbers").boxes}
    assert shares == {box.texts[0].text for box in layer(bare(annotated), "numbers").boxes}


def bare(annotated: Drawn) -> Figure:
    circuit, rows = annotated
    kinds = ("sketch_node", "sketch_edge", "note", "frame")
    return circuit_figure(circuit, {key: row for key, row in rows.items() if key.kind not in kinds})


def test_nothing_is_said_of_sketches_where_there_are_none(dallas: Drawn) -> None:
    figure = circuit_figure(*dallas)
    assert "by hand" not in figure.description
    assert not {"sketches", "frames", "leaders"} & {found.id for found in figure.layers}


def test_frames_lie_behind_and_notes_point_to_what_they_are_about(annotated: Drawn) -> None:
    figure = circuit_figure(*annotated)
    order = [found.id for found in figure.layers]
    assert order.index("frames") < order.index("edges") < order.index("nodes")
    (frame,) = layer(figure, "frames").boxes
    assert frame.texts[0].text == "Prompt"
    (line,) = layer(figure, "leaders").curves.points
    note = layer(figure, "sketches").boxes[1]
    start, end = line[0], line[-1]
    assert note.x - 0.1 <= start[0] <= note.x + note.width + 0.1
    target = next(
        box for box in layer(figure, "nodes").boxes
        if box.x - 0.1 <= end[0] <= box.x + box.width + 0.1
        and box.y - 0.1 <= end[1] <= box.y + box.height + 0.1
    )  # fmt: skip
    assert target.id.startswith("n-")


def test_bindings_survive_their_text() -> None:
    for ends in ((), ("token/embed/-1/6/8",), ("g1",), ("a/b/0/1/2", "g1")):
        assert Binding.parse(str(Binding(ends))).ends == ends
    assert Binding.parse("a -> b -> c").kind == Binding.parse(" -> x").kind == "circuit"
    assert Binding(("a/b/0/1/2", "g")).kind == "edge"


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_everything_drawn_by_hand_lies_on_the_page(annotated: Drawn, preset: str) -> None:
    figure = circuit_figure(*annotated, preset=PRESETS[preset])
    for box in (box for found in figure.layers for box in found.boxes):
        assert box.x >= -0.01, box.id
        assert box.x + box.width <= figure.width + 0.01, box.id
        assert 0 <= box.y <= box.y + box.height <= figure.height, box.id
    assert figure.smallest_text() >= 7


@pytest.mark.parametrize("suffix", ["svg", "html", "tex", "pdf", "png"])
def test_sketches_and_notes_are_in_every_format(
    annotated: Drawn, tmp_path: Path, suffix: str
) -> None:
    circuit, rows = annotated
    with_, without = tmp_path / f"with.{suffix}", tmp_path / f"without.{suffix}"
    kinds = ("sketch_node", "sketch_edge", "note", "frame")
    plain: Rows = {key: row for key, row in rows.items() if key.kind not in kinds}
    export(Document(circuit, rows), with_, what="circuit")
    export(Document(circuit, plain), without, what="circuit")
    assert with_.read_bytes() != without.read_bytes()
    if suffix in ("svg", "html", "tex"):
        text = with_.read_text()
        for word in ("syntax", "by hand", "guess", "Prompt", "Austin", "Why"):
            assert word in text, word


def test_open_groups_are_framed_unless_strangers_stand_between(dallas: Drawn) -> None:
    circuit, rows = dallas
    group = next(key for key in rows if key.kind == "group")
    rows = {**rows, group: {**rows[group], "open": True}}
    figure = circuit_figure(circuit, rows)
    frames = [box for found in figure.layers if found.id == "frames" for box in found.boxes]
    for frame in frames:
        assert frame.id == f"o-{group.id}"
    members = sum(1 for key in rows if key.kind == "member" and rows[key]["group"] == group.id)
    assert len(layer(figure, "nodes").boxes) == 8 - 1 + members


def test_markdown_is_set_in_lines_that_fit() -> None:
    text = "## Head\n- **strong** and *slanted* words that go on and on\n\nplain `code`"
    runs, height = set_markdown(text, 90.0, 10.0, "#000000")
    assert "**" not in "".join(run.text for run in runs)
    assert {run.text for run in runs if run.weight == 600} == {"Head", "strong", "code"}
    assert [run.text for run in runs if run.italic] == ["slanted"]
    assert "•" in {run.text for run in runs}
    for run in runs:
        width = text_width(run.text, run.size, run.weight, italic=run.italic)
        assert run.x + width <= 90.01
    heights = sorted({run.y for run in runs})
    assert all(b - a > 10 for a, b in pairwise(heights))
    assert height == max(heights)
