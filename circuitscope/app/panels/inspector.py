"""The inspector: the selected node, several nodes, or the circuit when nothing is selected."""

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QVBoxLayout, QWidget

from circuitscope.app.bridge import to_gui
from circuitscope.app.desk import Desk
from circuitscope.app.later import Later
from circuitscope.app.panels.node_card import NodeCard
from circuitscope.app.panels.overview import CircuitOverview, SelectionOverview
from circuitscope.app.theme import px
from circuitscope.app.widgets import MARGIN, scrolled, show_in, text_label
from circuitscope.app.words import tr
from circuitscope.project.edit import Edit
from circuitscope.session.feature_jobs import CHANGING
from circuitscope.session.jobs import Job

_UNHURRIED_MS = 300


class InspectorPanel(QWidget):
    """Show the selected node, several nodes, or the circuit when nothing is selected."""

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._desk = desk
        self.setObjectName("PanelBody")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setAccessibleName(tr("Inspector"))
        self.setMinimumWidth(px(250))  # below, numbers would be cut
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        self._scroll = scrolled(QWidget())
        outer.addWidget(self._scroll)
        self._later = Later(self, self.rebuild)
        watch = desk.watch
        for signal in (watch.selection, watch.active, watch.project):
            signal.connect(lambda *_: self._rebuild_from_top())
        watch.edited.connect(self._edited)
        watch.contents.connect(lambda *_: self._later.within())
        watch.job_added.connect(self._follow)
        self.rebuild()

    def _follow(self, job: Job) -> None:
        """Show what collecting and labelling found as soon as it is there."""
        if isinstance(job.request, CHANGING):
            to_gui(job.changed, self._hear, self)

    def _hear(self, job: Job) -> None:
        if job.state == "done":
            self._later.within()

    def _edited(self, edit: Edit) -> None:
        only_view = all(key.kind in ("view", "place") for key in edit.after)
        if only_view and len(self._desk.session.selection) != 1:
            return  # neither the circuit as a whole nor a list of nodes depends on thresholds
        self._later.within(_UNHURRIED_MS if only_view else 0)

    def _rebuild_from_top(self) -> None:
        self._scroll.verticalScrollBar().setValue(0)
        self._later.within()

    def rebuild(self) -> None:
        """Show the selection as it is now; the place scrolled to is kept."""
        at = self._scroll.verticalScrollBar().value()
        content = self._content()
        if at and isinstance(content, NodeCard):
            content.complete()
        show_in(self._scroll, content)
        self._scroll.verticalScrollBar().setValue(at)

    def _content(self) -> QWidget:
        circuit, chosen = self._desk.session.circuit, self._desk.session.selection
        if circuit is None:
            return _Hint(
                tr("Open a project or trace a sentence; what you click is explained here.")
            )
        if not chosen:
            return CircuitOverview(self._desk, circuit)
        if len(chosen) > 1:
            return SelectionOverview(self._desk, circuit, chosen)
        return NodeCard(self._desk, circuit, int(chosen[0]))

    def edit_label(self) -> None:
        """Put the cursor into the label field of the selected node."""
        self._later.stop()
        self.rebuild()
        content = self._scroll.widget()
        if isinstance(content, NodeCard):
            content.label_field.setFocus(Qt.FocusReason.ShortcutFocusReason)
            content.label_field.selectAll()


class _Hint(QWidget):
    def __init__(self, text: str) -> None:
        super().__init__()
        column = QVBoxLayout(self)
        column.setContentsMargins(MARGIN, MARGIN, MARGIN, MARGIN)
        column.addWidget(text_label(text, "quiet", wrap=True))
        column.addStretch()
