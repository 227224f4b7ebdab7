"""What is written can be read: on every bundled circuit no label lies on another."""

import shutil
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QRectF

from circuitscope.app.canvas.link_graph import LinkGraphView
from circuitscope.app.canvas.link_paint import name_places
from circuitscope.app.theme import LIGHT
from circuitscope.core.shipped import shipped_path
from circuitscope.engine.client import InProcessEngine
from circuitscope.exchange.diagram import circuit_figure
from circuitscope.exchange.figures import link_figure
from circuitscope.exchange.theme import PRESETS, PRINT
from circuitscope.project.file import ProjectFile
from circuitscope.session.session import Session

pytestmark = pytest.mark.qt

BUNDLED = sorted(path for path in shipped_path("projects").glob("*/*.circuitscope"))


@pytest.fixture(params=BUNDLED, ids=lambda path: path.stem)
def bundled(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copy(request.param, tmp_path))


def crossing(rects: list[QRectF]) -> list[tuple[int, int]]:
    """Return the pairs that overlap by more than a point."""
    inner = [rect.adjusted(0.5, 0.5, -0.5, -0.5) for rect in rects]
    return [(a, b) for a, b in combinations(range(len(inner)), 2) if inner[a].intersects(inner[b])]


def test_no_names_of_the_link_graph_overlap_at_fit(bundled: Path, qtbot) -> None:
    session = Session(InProcessEngine())
    project = session.open_project(bundled)
    view = LinkGraphView(session, LIGHT)
    qtbot.addWidget(view)
    view.resize(880, 560)
    view.show()
    for info in project.findings():
        if info.kind != "circuit":
            continue
        session.activate(info.id)
        view.fit()
        size = QRectF(view.rect())
        placed = name_places(view.scene, view.camera, view.font(), view._names, size)
        assert placed, info.name
        assert crossing([box for box, _ in placed]) == [], info.name
        assert all(size.contains(box) for box, _ in placed)
    session.shut_down()


@pytest.mark.parametrize("preset", ["screen", "1-column", "2-column"])
def test_no_boxes_or_numbers_of_the_diagram_overlap(bundled: Path, preset: str) -> None:
    with ProjectFile.open(bundled) as project:
        for info in project.findings():
            if info.kind != "circuit":
                continue
            rows = dict(project.drawing(info.id).rows)
            size = PRESETS[preset]
            figure = circuit_figure(project.circuit(info.id), rows, None, size, PRINT)
            layers = {layer.id: layer for layer in figure.layers}
            boxes = [*layers["nodes"].boxes, *layers["numbers"].boxes]
            rects = [QRectF(box.x, box.y, box.width, box.height) for box in boxes]
            assert crossing(rects) == [], (info.name, preset)


def test_exported_text_is_at_least_seven_points(bundled: Path) -> None:
    with ProjectFile.open(bundled) as project:
        for info in project.findings():
            if info.kind != "circuit":
                continue
            circuit, rows = project.circuit(info.id), dict(project.drawing(info.id).rows)
            for preset in ("1-column", "2-column", "slide"):
                for make in (circuit_figure, link_figure):
                    figure = make(circuit, rows, None, PRESETS[preset], PRINT)
                    assert np.min([text.size for text in figure.texts()]) >= 7, (info.name, preset)
