"""The overlay of two circuits as a figure that can be read, in colour and in grey."""

from pathlib import Path

import numpy as np
import pytest

import circuitscope as cs
from circuitscope.core.shipped import shipped_path
from circuitscope.core.transfer import Transfer
from circuitscope.exchange.comparison import (
    SHAPES,
    ComparisonReport,
    headline,
    node_order,
    noise,
    overlay_figure,
)
from circuitscope.exchange.figure import DASHES, Figure
from circuitscope.exchange.format import Document, WriteOptions, format_of
from circuitscope.exchange.theme import PRESETS
from circuitscope.exchange.typeface import text_width
from circuitscope.graph.compare import WHERES, compare
from circuitscope.graph.overlay import overlay


@pytest.fixture(scope="module")
def told() -> ComparisonReport:
    with cs.open_project(shipped_path("projects", "atlas/capitals.circuitscope"),
                         read_only=True) as project:  # fmt: skip
        a, b = (project.circuits()[name] for name in ("Dallas", "Oakland"))
    found = compare(a, b)
    kept = np.array([[0.87, -0.17, -0.15], [np.nan, 1.25, 0.18]])
    transfer = Transfer(
        ("Dallas", "Oakland", "shared"), ("Austin − Sacramento", "Sacramento − Austin"),
        np.ones(2), np.zeros(2), kept,
    )  # fmt: skip
    labels = overlay(a, b, found).circuit.labels
    return ComparisonReport(
        a, b, ("Dallas", "Oakland", "small"), found, labels, compare(a, a), transfer
    )


def rooms(figure: Figure) -> list[tuple[float, float, float, float]]:
    left = {"start": 0.0, "middle": 0.5, "end": 1.0}
    found = []
    for text in figure.texts():
        width = text_width(text.text, text.size, text.weight)
        x = text.x - left[text.anchor] * width
        found.append((x, text.y - 0.8 * text.size, x + width, text.y + 0.2 * text.size))
    return found


@pytest.mark.parametrize("preset", ["screen", "1-column", "2-column", "slide"])
def test_no_text_of_the_overlay_overlaps_or_leaves_the_page(
    told: ComparisonReport, preset: str
) -> None:
    figure = overlay_figure(told, PRESETS[preset])
    assert figure.smallest_text() >= 7
    found = rooms(figure)
    for at, (left, top, right, bottom) in enumerate(found):
        assert left >= 0
        assert right <= figure.width + 0.5
        assert bottom <= figure.height
        for other in found[at + 1 :]:
            apart = right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top
            assert apart, (figure.texts()[at].text, other)


def test_each_class_has_a_shape_and_a_line_of_its_own(told: ComparisonReport) -> None:
    figure = overlay_figure(told)
    layers = {layer.id: layer for layer in figure.layers}
    glyphs, curves = layers["nodes"].glyphs, layers["edges"].curves
    for node, shape in zip(node_order(figure), glyphs.shape, strict=True):
        assert shape == SHAPES[told.found.nodes[node].where]
    assert len(set(SHAPES.values())) == len(set(DASHES)) == len(WHERES)
    assert (curves.color % 4 == curves.dashed).all()
    assert set(np.unique(curves.dashed)) == {0, 1, 2, 3}
    words = " ".join(text.text for text in layers["legend"].texts)
    counts = told.found.counts()
    assert f"only Dallas: {counts['nodes']['a']} nodes" in words
    assert f"sign flipped: {counts['edges']['flipped']} edges" in words


def test_classes_can_be_left_out(told: ComparisonReport) -> None:
    figure = overlay_figure(told, shown=("a", "flipped"))
    wheres = {told.found.nodes[node].where for node in node_order(figure)}
    assert "b" not in wheres
    curves = next(layer.curves for layer in figure.layers if layer.id == "edges")
    assert set(np.unique(curves.dashed)) <= {1, 3}
    assert "Not drawn: both, only Oakland." in figure.description


def test_transfer_and_noise_floor_are_said(told: ComparisonReport) -> None:
    assert headline(told) == [
        "Oakland’s circuit keeps −17 % of Austin − Sacramento on Dallas’s prompt "
        "(Dallas’s own circuit: 87 %)."
    ]
    assert noise(told)[0] == (
        "Shared: 35 % of nodes, 11 % of edges. Noise floor, Dallas against small: "
        "100 % of nodes, 100 % of edges."
    )
    figure = overlay_figure(told)
    assert noise(told)[0] in figure.description
    assert figure.metadata["transfer"]["kept"][1][0] is None


@pytest.mark.parametrize("suffix", [".svg", ".pdf", ".png", ".tex", ".html"])
def test_the_overlay_is_written_by_every_format_that_draws(
    told: ComparisonReport, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"overlay{suffix}"
    document = Document(told.a, figure=overlay_figure(told))
    format_of(path).write(document, path, WriteOptions(72))
    assert path.stat().st_size > 5_000
    if suffix == ".svg":
        dashes = {part.split('"')[0] for part in path.read_text().split('stroke-dasharray="')[1:]}
        assert {len(one.split()) for one in dashes} == {2, 4}
