"""Hovering over a box of the diagram: its edges and their ends stand out, the rest fades."""

import numpy as np
from PySide6.QtCore import QEvent, QPoint
from PySide6.QtGui import QColor
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from circuitscope.app.canvas.circuit_view import CircuitView
from circuitscope.app.canvas.diagram_hover import Hover
from circuitscope.app.main_window import MainWindow
from circuitscope.project import verbs


def darkness(view: CircuitView, box: int) -> float:
    """Return how far the outline of a box is from the ground, 0 to 255."""
    face = view.shown.faces[box]
    ends = np.array([[face.x + face.width / 2, face.y], [face.x + face.width / 2, face.y + 2]])
    (x, low), (_, high) = view.camera.to_pixels(ends)
    image = view.grab().toImage()
    ratio = image.devicePixelRatio()
    column = [
        QColor(image.pixel(round(x * ratio), y)).lightness()
        for y in range(round((low - 2) * ratio), round(high * ratio) + 1)
    ]
    return 255 - min(column)


def test_what_a_box_is_joined_to_stands_out(drawn: MainWindow, qapp: QApplication) -> None:
    drawn.show_view("circuit")
    nodes = drawn.session.circuit.nodes
    drawn.session.edit(verbs.pin, [str(nodes.key(i)) for i in range(len(nodes))])
    qapp.processEvents()
    view = drawn.circuit_view
    box = view.shown.links[0].source
    near = {box} | {
        end for link in view.shown.links for end in (link.source, link.target)
        if box in (link.source, link.target)
    }  # fmt: skip
    far = next(at for at in range(len(view.shown.boxes)) if at not in near)
    plain = {at: darkness(view, at) for at in (box, far)}
    QTest.mouseMove(view, QPoint(1, 1))
    QTest.mouseMove(view, view.middle_of(box).toPoint())
    qapp.processEvents()
    assert darkness(view, box) > 0.9 * plain[box]
    assert darkness(view, far) < 0.6 * plain[far]
    qapp.sendEvent(view, QEvent(QEvent.Type.Leave))
    assert darkness(view, far) > 0.9 * plain[far]


def test_only_the_edges_of_the_box_and_their_ends_are_lit(
    drawn: MainWindow, qapp: QApplication
) -> None:
    drawn.show_view("circuit")
    nodes = drawn.session.circuit.nodes
    drawn.session.edit(verbs.pin, [str(nodes.key(i)) for i in range(len(nodes))])
    qapp.processEvents()
    shown, hover = drawn.circuit_view.shown, Hover()
    box = shown.links[0].target
    assert hover.point_at(shown, box)
    assert not hover.point_at(shown, box)
    lit = hover.lit(shown)
    layers = {layer.id: layer for layer in lit.layers}
    touching = [link for link in shown.links if box in (link.source, link.target)]
    ends = {end for link in touching for end in (link.source, link.target)}
    assert len(layers["edges"].curves) == len(touching)
    assert {id(face) for face in layers["nodes"].boxes} == {id(shown.faces[end]) for end in ends}
    assert hover.point_at(shown, None)
    assert hover.lit(shown) is None
