"""The minimap shows what is in sight and moves it."""

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest

pytestmark = pytest.mark.qt


@pytest.fixture
def graph(drawn):
    drawn.link_graph.zoom(4.0)
    drawn.desk.trigger("view.minimap")
    assert drawn.link_graph.minimap.isVisible()
    return drawn.link_graph


def test_a_drag_brings_what_is_below_the_cursor_into_the_middle(graph) -> None:
    minimap = graph.minimap
    before = minimap.in_sight()
    to = QPoint(round(before.center().x()) + 20, round(before.center().y()) - 12)
    QTest.mousePress(minimap, Qt.MouseButton.LeftButton, pos=before.center().toPoint())
    QTest.mouseMove(minimap, to)
    after = minimap.in_sight()
    assert after.center().x() == pytest.approx(to.x(), abs=0.5)
    assert after.center().y() == pytest.approx(to.y(), abs=0.5)
    assert after.width() == pytest.approx(before.width())


def test_arrows_move_what_is_in_sight(graph) -> None:
    before = graph.minimap.in_sight()
    QTest.keyClick(graph.minimap, Qt.Key.Key_Right)
    after = graph.minimap.in_sight()
    assert after.left() > before.left()
    assert after.top() == pytest.approx(before.top())


def test_the_action_hides_it_again(graph, drawn) -> None:
    assert not graph.minimap.grab().isNull()
    drawn.desk.trigger("view.minimap")
    assert graph.minimap.isHidden()
