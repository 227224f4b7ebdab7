"""The toolbar: files, undo, the trace, the influence threshold, editing, export, search."""

from typing import Any

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QAction
from PySide6.QtWidgets import (
    QHBoxLayout,
    QMenu,
    QSizePolicy,
    QSlider,
    QToolBar,
    QToolButton,
    QWidget,
)

from circuitscope.app.desk import Desk
from circuitscope.app.later import Later
from circuitscope.app.meanings import explain
from circuitscope.app.search import SearchField
from circuitscope.app.theme import px
from circuitscope.app.widgets import text_label
from circuitscope.app.words import count, tr
from circuitscope.graph.influence import is_flow

_SEARCH = (260, 180, 132, 180, 150, 150, 120)
"""Width of the search field at each level of saying less."""
_COMPACT, _NO_EDGES, _NO_EDITING = 3, 4, 5
_LEAST, _MOST = 5, 100


class MainToolBar(QToolBar):
    """What is used all the time; everything here is also in a menu."""

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        super().__init__(tr("Toolbar"), parent)
        self._desk = desk
        self.setObjectName("toolbar")
        self.setMovable(False)
        self.setFloatable(False)
        self.setIconSize(QSize(16, 16))
        self.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextOnly)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.PreventContextMenu)
        self._button("file.open", tr("Open"))
        self._button("file.save", tr("Save"))
        self._button("edit.undo", look="icon")
        self._button("edit.redo", look="icon")
        self.addSeparator()
        self._button("trace.new", tr("Trace…"), look="primary")
        self.addSeparator()
        self.threshold = ThresholdSlider(desk, "node_threshold")
        self.edge_threshold = ThresholdSlider(desk, "edge_threshold")
        self.addWidget(self.threshold)
        self._edge_slider = self.addWidget(self.edge_threshold)
        spacer = QWidget()
        spacer.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.addWidget(spacer)
        self._editing: list[QAction] = []
        for action_id in ("graph.group", "graph.label", "graph.pin", "graph.hide"):
            self._button(action_id, tr("Pin") if action_id == "graph.pin" else "")
            self._editing.append(self.actions()[-1])
        self.addSeparator()
        self._export_button()
        self.search = SearchField(desk)
        self.addWidget(_padded(self.search))
        for slider in (self.threshold, self.edge_threshold):
            slider.grown.connect(lambda: self.set_width(self.window().width()))

    def _button(self, action_id: str, text: str = "", look: str = "") -> QToolButton:
        made = QToolButton()
        action = self._desk.actions[action_id]
        made.setDefaultAction(action)
        made.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        made.setAccessibleName(text or action.text())
        if look:
            made.setProperty("look", look)
        if look == "icon":
            made.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonIconOnly)
        else:
            made.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextOnly)
        if text:
            self._keep_text(made, action, text)
        self.addWidget(made)
        return made

    def _keep_text(self, made: QToolButton, action: QAction, text: str) -> None:
        made.setText(text)
        action.changed.connect(lambda: made.setText(text))

    def _export_button(self) -> None:
        made = QToolButton()
        made.setText(tr("Export ▾"))
        made.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        made.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.export = made
        menu = QMenu(made)
        menu.addAction(self._desk.actions["file.export"])
        menu.addAction(self._desk.actions["file.save_as"])
        made.setMenu(menu)
        self.addWidget(made)

    def set_width(self, width: int) -> None:
        """Say less where the window is narrow, so that nothing falls off the end."""
        self.setUpdatesEnabled(False)
        for level in range(len(_SEARCH)):
            self._say_less(level)
            self.layout().invalidate()
            if self.layout().sizeHint().width() <= width:
                break
        self.setUpdatesEnabled(True)

    def _say_less(self, level: int) -> None:
        """Leave out what the menus have too; what Ctrl+F needs stays."""
        self.search.setFixedWidth(px(_SEARCH[level]))
        for slider in (self.threshold, self.edge_threshold):
            slider.set_compact(compact=level >= _COMPACT)
        self._edge_slider.setVisible(level < _NO_EDGES)
        for action in self._editing:
            action.setVisible(level < _NO_EDITING)


def _padded(widget: QWidget) -> QWidget:
    box = QWidget()
    row = QHBoxLayout(box)
    row.setContentsMargins(6, 0, 0, 0)
    row.addWidget(widget, 0, Qt.AlignmentFlag.AlignRight)
    return box


class ThresholdSlider(QWidget):
    """Choose how much the shown nodes, or edges, hold together; `grown` where counts get longer.

    Args:
        desk: What it works on.
        field: "node_threshold" or "edge_threshold".
    """

    grown = Signal()

    def __init__(self, desk: Desk, field: str) -> None:
        super().__init__()
        self._desk, self._field = desk, field
        self._of_nodes = field == "node_threshold"
        self._compact = False
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Preferred)
        row = QHBoxLayout(self)
        row.setContentsMargins(2, 0, 2, 0)
        row.setSpacing(8)
        name = tr("Influence") if self._of_nodes else tr("Edges")
        self._caption = text_label(name, "quiet")
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(_LEAST, _MOST)
        self.slider.setPageStep(5)
        self.slider.setFixedWidth(84)
        title = tr("Influence threshold") if self._of_nodes else tr("Edge threshold")
        self.slider.setAccessibleName(title)
        self.slider.valueChanged.connect(self._moved)
        self._numbers = text_label("", "quiet")
        explain(self._numbers, "threshold")
        for widget in (self._caption, self.slider, self._numbers):
            row.addWidget(widget)
        self._later = Later(self, self.refresh)
        for signal in (desk.watch.edited, desk.watch.active, desk.watch.project):
            signal.connect(lambda *_: self._later.within())
        self.refresh()

    def set_compact(self, *, compact: bool) -> None:
        """Leave out what others say too where there is little room: caption, and the edges."""
        if compact != self._compact:
            self._compact = compact
            self._caption.setVisible(not (compact and self._of_nodes))
            self._numbers.setVisible(self._of_nodes or not compact)
            self.slider.setFixedWidth(56 if compact else 84)
            self.refresh()

    def refresh(self) -> None:
        """Show the threshold and the counts of the active view."""
        circuit, view = self._desk.session.circuit, self._desk.session.shown()
        self.setEnabled(circuit is not None)
        if circuit is None or view is None:
            self._numbers.setText("")
            self.setToolTip(tr("Open a project with a circuit, or trace a sentence, first."))
            return
        threshold = view.node_threshold if self._of_nodes else view.edge_threshold
        self.slider.blockSignals(True)
        self.slider.setValue(round(100 * threshold))
        self.slider.blockSignals(False)
        if self._of_nodes:
            flow = is_flow(circuit)
            self._caption.setText(tr("Importance") if flow else tr("Influence"))
            shown, total = int(view.nodes.sum()), len(circuit.nodes)
            tip = tr("Shows the strongest nodes that together hold {0:.0f} % of the influence.")
            if flow:
                tip = tr("Shows the nodes that together hold {0:.0f} % of the importance.")
        else:
            shown, total = int(view.edges.sum()), len(circuit.edges)
            tip = tr("Shows the strongest edges that together hold {0:.0f} % of the edge scores.")
        before = len(self._numbers.text())
        self._numbers.setText(tr("{0} of {1}").format(count(shown), count(total)))
        if len(self._numbers.text()) != before:
            self.grown.emit()
        self.setToolTip(tip.format(100 * threshold))

    def _moved(self, value: int) -> None:
        if self._desk.session.circuit is not None:
            changed: dict[str, Any] = {self._field: value / 100}
            self._desk.session.set_view(**changed)
