"""The search field of the toolbar and the list of what it finds."""

from PySide6.QtCore import QEvent, QObject, QPoint, QSize, Qt
from PySide6.QtGui import QColor, QFocusEvent, QKeyEvent, QResizeEvent
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QVBoxLayout,
    QWidget,
)

from circuitscope.app.desk import Desk
from circuitscope.app.naming import short_line
from circuitscope.app.theme import icon, pixmap
from circuitscope.app.widgets import STEP, button, text_label
from circuitscope.app.words import DOT, plural, tr
from circuitscope.session.session import SearchResult

NODE = Qt.ItemDataRole.UserRole
LISTED = 50


class SearchField(QLineEdit):
    """Find a node by label, token or id: arrows choose, Enter centres it, Escape leaves."""

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._desk = desk
        self._result = SearchResult()
        self.setProperty("look", "search")
        self.setPlaceholderText(tr("Find a node, token, label…"))
        self.setToolTip(tr("Find a node by label, token, group or id  (Ctrl+F)"))
        self.setAccessibleName(tr("Find a node"))
        self._glass = QLabel(self)
        self._glass.setPixmap(pixmap("search", desk.palette.secondary, 14))
        self._keys = text_label("Ctrl F", "small")
        self._keys.setParent(self)
        for label in (self._glass, self._keys):
            label.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setTextMargins(20, 0, 0, 0)
        self.setFixedWidth(260)
        self.results = _Results(desk, self)
        self.results.chosen.itemClicked.connect(self._take)
        self.textChanged.connect(self._look)
        desk.watch.active.connect(lambda *_: self.clear())

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Keep the glass at the left and the keys at the right."""
        super().resizeEvent(event)
        self._glass.adjustSize()
        self._glass.move(9, (self.height() - self._glass.height()) // 2)
        self._keys.adjustSize()
        left = self.width() - self._keys.width() - 10
        self._keys.move(left, (self.height() - self._keys.height()) // 2)
        self._keys.setVisible(self.width() > 230 and not self.text())

    def start(self) -> None:
        """Take the focus, with what was typed before selected."""
        self.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.selectAll()
        if self.text():
            self._look(self.text())

    def _look(self, text: str) -> None:
        self._keys.setVisible(self.width() > 230 and not text)
        if not text.strip() or self._desk.session.circuit is None:
            self.results.hide()
            return
        self._result = self._desk.session.search(text)
        self.results.fill(self._result)
        self.results.place_below(self)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Move through the results without leaving the field."""
        rows, key = self.results.chosen, event.key()
        if key in (Qt.Key.Key_Down, Qt.Key.Key_Up) and self.results.isVisible():
            step = 1 if key == Qt.Key.Key_Down else -1
            rows.setCurrentRow(max(0, min(rows.count() - 1, rows.currentRow() + step)))
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and rows.currentItem() is not None:
            self._take(rows.currentItem())
        elif key == Qt.Key.Key_Escape:
            self.results.hide()
            self._desk.window.canvas().setFocus()
        else:
            super().keyPressEvent(event)

    def focusOutEvent(self, event: QFocusEvent) -> None:
        """Put the list away when the focus goes elsewhere."""
        super().focusOutEvent(event)
        if not self.results.underMouse():
            self.results.hide()

    def _take(self, item: QListWidgetItem) -> None:
        node = item.data(NODE)
        if node is None:
            return
        view = self._desk.session.shown()
        if view is not None and not view.nodes[node]:
            self.reveal([node])
        self._desk.session.select([node])
        self.results.hide()
        canvas = self._desk.window.canvas()
        canvas.frame_selection()
        canvas.setFocus()

    def reveal_all(self) -> None:
        """Raise the threshold until every match is shown that influence hides."""
        self.reveal([match.index for match in self._result.matches if match.hidden])
        self._look(self.text())

    def reveal(self, nodes: list[int]) -> None:
        """Raise the influence threshold until these nodes pass it."""
        held = self._desk.session.pruned().cumulative
        wanted = min(1.0, max(float(held[node]) for node in nodes) + 0.005)
        if wanted > self._desk.session.view().node_threshold:
            self._desk.session.set_view(node_threshold=round(wanted, 3))


class _Results(QFrame):
    """The list below the field."""

    def __init__(self, desk: Desk, field: SearchField) -> None:
        super().__init__(desk.window)
        self._desk, self._field = desk, field
        self.setProperty("look", "popup")
        self.hide()
        column = QVBoxLayout(self)
        column.setContentsMargins(STEP // 2, STEP // 2, STEP // 2, STEP)
        column.setSpacing(4)
        self.chosen = QListWidget()
        self.chosen.setIconSize(QSize(14, 14))
        self.chosen.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.chosen.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.chosen.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.chosen.setAccessibleName(tr("Search results"))
        column.addWidget(self.chosen)
        self._note = text_label("", "small", wrap=True)
        self._note.setContentsMargins(STEP, 0, STEP, 0)
        column.addWidget(self._note)
        self._reveal = button(tr("Show them"), "link", field.reveal_all)
        self._reveal.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        foot = QHBoxLayout()
        foot.setContentsMargins(STEP, 0, STEP, 0)
        foot.addWidget(self._reveal)
        foot.addStretch()
        column.addLayout(foot)
        desk.window.installEventFilter(self)

    def fill(self, result: SearchResult) -> None:
        """Show other results."""
        circuit, palette = self._desk.session.circuit, self._desk.palette
        assert circuit is not None
        self.chosen.clear()
        for match in result.matches[:LISTED]:
            words = match.label + DOT + short_line(circuit, match.index)
            item = QListWidgetItem(words)
            item.setData(NODE, match.index)
            item.setToolTip(words)
            item.setSizeHint(QSize(0, 26))
            if match.hidden:
                item.setForeground(QColor(palette.secondary))
                item.setIcon(icon("eye-off", palette, palette.secondary, 14))
            self.chosen.addItem(item)
        self.chosen.setVisible(bool(result.matches))
        self.chosen.setFixedHeight(min(10, max(1, self.chosen.count())) * 26 + 4)
        self.chosen.setCurrentRow(0)
        found = plural(len(result.matches), "match", "matches")
        hidden = tr("{0} hidden by this view").format(result.n_hidden)
        nothing = tr("Nothing in this circuit has that in its label, token, group or id.")
        parts = [found, hidden] if result.n_hidden else [found]
        self._note.setText(DOT.join(parts) if result.matches else nothing)
        self._reveal.setVisible(result.n_hidden > 0)

    def place_below(self, field: QWidget) -> None:
        """Appear below the field, inside the window."""
        width = max(360, field.width())
        corner = field.mapTo(self.parentWidget(), QPoint(field.width() - width, field.height() + 4))
        self.setFixedWidth(width)
        self.adjustSize()
        self.move(max(STEP, corner.x()), corner.y())
        self.show()
        self.raise_()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Put the list away when the window changes its size."""
        if event.type() == QEvent.Type.Resize:
            self.hide()
        return False
