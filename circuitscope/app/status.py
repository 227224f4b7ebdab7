"""The status line: what is shown and why the rest is not, the scores, what is held fixed."""

from collections.abc import Callable

from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QStatusBar,
    QStyle,
    QStyleOption,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from circuitscope.app.commands import edits
from circuitscope.app.desk import Desk
from circuitscope.app.dialogs.model_choice import check_line
from circuitscope.app.later import Later
from circuitscope.app.meanings import explain, explain_all
from circuitscope.app.naming import model_name
from circuitscope.app.widgets import STEP, Dot, button, elided, section, text_label
from circuitscope.app.words import DOT, THIN, count, percent, plain, plural, tr
from circuitscope.core.circuit import Circuit
from circuitscope.exchange.caption import holds_fixed
from circuitscope.graph.influence import is_flow, is_relevance, scores
from circuitscope.graph.prune import Reason


class StatusLine(QStatusBar):
    """Numbers at the bottom of the window; "why?" tells what hides the other nodes."""

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._desk = desk
        self._scored: tuple[str, str] = ("", "")
        self.setSizeGripEnabled(False)
        self.setContentsMargins(10, 0, 12, 0)
        self._shown = text_label("")
        self.why = QToolButton()
        self.why.setProperty("look", "link")
        self.why.setText(tr("why?"))
        self.why.setToolTip(tr("What hides the other nodes, and how to see them"))
        self.why.setCursor(Qt.CursorShape.PointingHandCursor)
        self.why.clicked.connect(self.show_reasons)
        self._scores = text_label("")
        explain(self._shown, "shown")
        self._fixed = elided("", "note")
        left = QWidget()
        row = QHBoxLayout(left)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        row.addWidget(self._shown)
        row.addWidget(self.why)
        line = QWidget()
        spread = QHBoxLayout(line)
        self._layouts = (row, spread)
        spread.setContentsMargins(6, 0, 0, 0)
        spread.setSpacing(16)
        spread.addWidget(left)
        spread.addStretch(1)
        spread.addWidget(self._scores)
        spread.addStretch(1)
        spread.addWidget(self._fixed, 8)
        self.addWidget(line, 1)
        self.messageChanged.connect(lambda text: line.setVisible(not text))
        self._engine = text_label("")
        self._dot = Dot(desk.palette.faint, 8)
        right = self._right = QWidget()
        row = QHBoxLayout(right)
        row.setContentsMargins(8, 0, 8, 0)
        row.setSpacing(6)
        row.addWidget(self._engine)
        row.addWidget(self._dot)
        self.addPermanentWidget(right)
        self._later = Later(self, self.refresh)
        watch = desk.watch
        for signal in (watch.edited, watch.active, watch.project, watch.model, watch.job_added):
            signal.connect(lambda *_: self._later.within())
        self.refresh()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint a message where the numbers begin; Qt would paint it at the very edge."""
        if not (text := self.currentMessage()):
            super().paintEvent(event)
            return
        option, painter = QStyleOption(), QPainter(self)
        option.initFrom(self)
        self.style().drawPrimitive(QStyle.PrimitiveElement.PE_PanelStatusBar, option, painter, self)
        room = self.rect().adjusted(2 * STEP + 2, 0, -self._right.width() - 2 * STEP, 0)
        shown = painter.fontMetrics().elidedText(text, Qt.TextElideMode.ElideRight, room.width())
        painter.setPen(self.palette().windowText().color())
        painter.drawText(room, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, shown)
        painter.end()

    def refresh(self) -> None:
        """Show everything as it is now."""
        circuit, view = self._desk.session.circuit, self._desk.session.shown()
        self._refresh_engine()
        self.why.setVisible(circuit is not None)
        if circuit is None or view is None:
            for label in (self._shown, self._scores, self._fixed):
                label.setText("")
            return
        hidden = int((~view.nodes).sum())
        nodes = plural(int(view.nodes.sum()), "node", "nodes")
        edges = plural(int(view.edges.sum()), "edge", "edges")
        shown = tr("{0} shown").format(nodes + DOT + edges)
        self._shown.setText(shown + DOT + tr("{0} hidden:").format(count(hidden)))
        self.why.setVisible(hidden > 0)
        if not hidden:
            self._shown.setText(shown)
        self._scores.setText(self._score_words(circuit))
        names = ("error share", "replacement", "completeness")
        if is_relevance(circuit):
            names = ("faithfulness", "whole", "sum of parts")
        explain_all(self._scores, *names)
        fixed = tr("attention patterns and norms held fixed")
        words = fixed if holds_fixed(circuit) else ""
        self._fixed.setText(words)
        self._fixed.setToolTip(words)
        # What was laid out before the window was shown would keep the width of empty labels.
        for layout in self._layouts:
            layout.invalidate()
            layout.parentWidget().updateGeometry()
            layout.activate()

    def _score_words(self, circuit: Circuit) -> str:
        active = self._desk.session.active
        if self._scored[0] != active:
            words = _relevance_words(circuit) if is_relevance(circuit) else _score_words(circuit)
            if is_flow(circuit):
                followed = percent(circuit.provenance.scores.get("followed", 0.0))
                words = tr("followed to the words {0}").format(followed)
            self._scored = (active, words)
        return self._scored[1]

    def _refresh_engine(self) -> None:
        model, palette = self._desk.session.model, self._desk.palette
        name = model_name(model.path) if model.path is not None else ""
        states = {
            "none": (palette.faint, tr("no model")),
            "loading": (palette.accent, tr("loading")),
            "ready": (palette.supported, tr("engine ready")),
            "failed": (palette.error, tr("could not be loaded")),
        }
        color, words = states[model.state]
        if model.why_untraced:
            color, words = palette.error, tr("runs, but cannot be traced")
        parts = [name, model.dtype, model.device.upper() if model.device else "", words]
        self._engine.setText(DOT.join(part for part in parts if part))
        none = tr("Saved circuits can be looked at and edited without a model.")
        told = str(model.path or none)
        if model.state == "ready":
            told += "\n" + check_line(model)
        self._engine.setToolTip(str(model.error) if model.error else told)
        self._dot.set_color(color)

    def show_reasons(self) -> "ReasonsPopup":
        """Open the list of what hides nodes."""
        popup = ReasonsPopup(self._desk)
        popup.adjustSize()
        popup.move(self.mapToGlobal(QPoint(STEP, -popup.height() - STEP)))
        popup.show()
        popup.setFocus(Qt.FocusReason.PopupFocusReason)  # or keys would go on to the canvas
        return popup


class ReasonsPopup(QFrame):
    """Count the hidden nodes by reason; each line offers what would show them."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk.window, Qt.WindowType.Popup)
        self._desk = desk
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setProperty("look", "popup")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName(tr("Why nodes are hidden"))
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 12, 16, 12)
        column.setSpacing(STEP)
        column.addWidget(section(tr("Hidden nodes")))
        view = desk.session.shown()
        counts = view.counts() if view is not None else {}
        for reason, number in sorted(counts.items(), key=lambda pair: -pair[1]):
            column.addLayout(self._line(reason, number))
        note = tr("Nothing is deleted: every node stays in the file.")
        column.addWidget(text_label(note, "note"))

    def _line(self, reason: Reason, number: int) -> QHBoxLayout:
        words, offer, act = _ways(self._desk)[reason]
        row = QHBoxLayout()
        row.setSpacing(12)
        n = text_label(count(number), "strong")
        n.setMinimumWidth(44)
        n.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        row.addWidget(n)
        row.addWidget(text_label(words))
        row.addStretch()
        if act is not None:
            row.addWidget(button(offer, "link", lambda: self._do(act)))
        return row

    def _do(self, act: Callable[[], object]) -> None:
        self.close()
        act()


def _ways(desk: Desk) -> dict[Reason, tuple[str, str, Callable[[], object] | None]]:
    """Return, for each reason, its words, what would show the nodes, and how to do it."""
    session, view = desk.session, desk.session.view()
    threshold = f"{view.node_threshold:.2f}"
    more = tr("Show more")
    return {
        Reason.SHOWN: ("", "", None),
        Reason.INFLUENCE: (tr("below the influence threshold {0}").format(threshold), more,
                           lambda: _raise(desk)),
        Reason.NO_OUTGOING: (tr("none of their effects is among the edges kept"),
                             tr("Keep all edges"), lambda: session.set_view(edge_threshold=1.0)),
        Reason.NO_INCOMING: (tr("none of their causes is among the edges kept"),
                             tr("Keep all edges"), lambda: session.set_view(edge_threshold=1.0)),
        Reason.CONSTANT: (tr("constants: biases and positions"), tr("Show them"),
                          lambda: session.set_view(show_biases=True)),
        Reason.ERROR: (tr("unexplained parts, switched off"), tr("Show them"),
                       lambda: session.set_view(show_errors=True)),
        Reason.BY_HAND: (tr("hidden by hand"), tr("Show them"), lambda: edits.show_all(desk)),
        Reason.FILTER: (tr("left out by the filter {0}").format(view.filter), tr("Show them"),
                        lambda: session.set_view(filter="")),
    }  # fmt: skip


def _raise(desk: Desk) -> None:
    now = desk.session.view().node_threshold
    desk.session.set_view(node_threshold=round(min(1.0, now + max(0.05, (1 - now) / 2)), 3))


def _score_words(circuit: Circuit) -> str:
    found = scores(circuit)
    return tr("error share {0}   replacement {1}   completeness {2}").format(
        f"{100 * found['error_share']:.0f}{THIN}%",
        f"{found['replacement']:.2f}", f"{found['completeness']:.2f}",
    )  # fmt: skip


def _relevance_words(circuit: Circuit) -> str:
    found = circuit.provenance.scores
    names = {"faithfulness": tr("faithfulness"), "whole": tr("whole"),
             "sum_of_parts": tr("sum of the parts")}  # fmt: skip
    told = [f"{name} {plain(found[key])}" for key, name in names.items() if key in found]
    return "   ".join(told)
