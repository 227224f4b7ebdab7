"""The graph as tables shows what the view shows, and selection goes both ways."""

from PySide6.QtWidgets import QApplication

from circuitscope.app.dialogs.graph_table import GraphTableDialog
from circuitscope.app.main_window import MainWindow


def test_the_tables_hold_what_is_shown_and_share_the_selection(drawn: MainWindow) -> None:
    session = drawn.session
    drawn.desk.trigger("view.table")
    dialog = drawn.findChild(GraphTableDialog)
    view = session.shown()
    assert {row.thing for row in dialog.nodes.rows()} == set(view.nodes.nonzero()[0].tolist())
    session.select([3, 4])
    chosen = {row.thing for row in dialog.nodes.selectedItems()}
    assert chosen == {3, 4}
    edge = dialog.edges.rows()[0]
    dialog.edges.setCurrentItem(edge)
    ends = session.circuit.edge(edge.thing)
    assert session.selection == (ends.source.index, ends.target.index)
    hidden = str(session.circuit.nodes.key(4))
    session.drawing.hide(hidden)
    dialog.rebuild()
    QApplication.processEvents()
    assert 4 not in {row.thing for row in dialog.nodes.rows()}
