"""Where boxes stand that nobody has placed: an unfolded group's members, a first diagram."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import circuitscope as cs
from circuitscope.core.shipped import shipped_path
from circuitscope.exchange.diagram import subgraph_of
from circuitscope.exchange.figure import Box, Figure
from circuitscope.exchange.figures import circuit_figure
from circuitscope.graph.view import view_of
from circuitscope.project import verbs


@pytest.fixture
def atlas(tmp_path: Path):
    copy = shutil.copy(shipped_path("projects", "atlas", "capitals.circuitscope"), tmp_path)
    with cs.open_project(copy) as project:
        yield project


def faces(figure: Figure) -> dict[str, Box]:
    return {
        box.texts[0].text: box
        for layer in figure.layers
        if layer.id == "nodes"
        for box in layer.boxes
    }


def middle(box: Box) -> np.ndarray:
    return np.array([box.x + box.width / 2, box.y + box.height / 2])


def test_members_of_an_unfolded_group_stand_where_it_stood(atlas) -> None:
    drawing, circuit = atlas.drawing("Dallas"), atlas.circuits()["Dallas"]
    before = faces(circuit_figure(circuit, drawing.rows))
    group = next(name for name, row in drawing.of_kind("group").items()
                 if row["label"] == "say Austin")  # fmt: skip
    drawing.commit(verbs.open_group(drawing, group, open=True))
    after = faces(circuit_figure(circuit, drawing.rows))
    members = [box for name, box in after.items() if name not in before]
    assert len(members) == 4
    others = set(before) & set(after)
    shift = np.mean([middle(after[name]) - middle(before[name]) for name in others], axis=0)
    for name in others:  # what had a place keeps it, but for a shift of the whole page
        assert middle(after[name]) - middle(before[name]) == pytest.approx(shift, abs=0.5)
    centre = np.mean([middle(box) for box in members], axis=0)
    assert np.abs(centre - shift - middle(before["say Austin"])).max() < 40
    for a in range(4):
        for b in range(a):
            apart = np.abs(middle(members[a]) - middle(members[b]))
            assert apart[0] >= members[a].width or apart[1] >= members[a].height


def test_a_first_diagram_of_relevances_shows_the_most_relevant_heads(atlas) -> None:
    circuit = atlas.circuits()["Dallas, by heads"]
    rows = atlas.drawing("Dallas, by heads").rows
    boxes = subgraph_of(circuit, rows, view_of(circuit, rows)).boxes
    assert {"head 2.3", "head 0.4"} <= {box.label for box in boxes}
