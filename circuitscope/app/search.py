"""The search field of the toolbar and what it finds, in the language of `graph.query`."""

from PySide6.QtCore import QEvent, QObject, QPoint, QPointF, QSize, Qt
from PySide6.QtGui import (
    QColor,
    QFocusEvent,
    QIcon,
    QKeyEvent,
    QPainter,
    QPixmap,
    QResizeEvent,
)
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

from circuitscope.app.canvas.link_paint import paint_glyph
from circuitscope.app.desk import Desk
from circuitscope.app.naming import short_line
from circuitscope.app.theme import Palette, pixmap, px
from circuitscope.app.widgets import STEP, button, look, text_label
from circuitscope.app.words import DOT, count, plural, tr
from circuitscope.core.anatomy import Site
from circuitscope.core.circuit import Circuit
from circuitscope.core.keys import NodeKind
from circuitscope.exchange.theme import shape_of
from circuitscope.session.session import SearchResult

MATCH = Qt.ItemDataRole.UserRole
LISTED = 50


def grammar() -> str:
    """Return what can be typed, in one line."""
    return tr('layer:2-5  kind:feature  token:Dallas  pos:7  id:214  label:  group:  mine  '
              'pinned  untested  "two words"  -not')  # fmt: skip


class SearchField(QLineEdit):
    """Find nodes by words and conditions: arrows choose, Enter centres, Escape leaves.

    The matches stay: F3 goes on to the next.
    """

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._desk = desk
        self._result = SearchResult()
        self._at = -1
        self.setProperty("look", "search")
        self.setPlaceholderText(tr("Find nodes"))
        self.setToolTip(tr("Find nodes by words and conditions  (Ctrl+F)") + "\n" + grammar())
        self.setAccessibleName(tr("Find a node"))
        self._glass = QLabel(self)
        self._glass.setPixmap(pixmap("search", desk.palette.secondary, 14))
        self._keys = text_label("Ctrl F", "small")
        self._keys.setParent(self)
        for label in (self._glass, self._keys):
            label.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setTextMargins(20, 0, 0, 0)
        self.setFixedWidth(px(260))
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
        self._keys.setVisible(self.width() > px(230) and not self.text())

    def start(self) -> None:
        """Take the focus, with what was typed before selected; say what can be asked for."""
        self.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.selectAll()
        if self._desk.session.circuit is not None:
            self._show_found(self.text())

    def _look(self, text: str) -> None:
        self._keys.setVisible(self.width() > px(230) and not text)
        self._at = -1
        if self._desk.session.circuit is None or not text.strip():
            self._result = SearchResult()
            self.results.hide()
        else:
            self._show_found(text)

    def _show_found(self, text: str) -> None:
        self._result = self._desk.session.search(text)
        self.results.fill(self._result, text.strip())
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

    def step(self, by: int) -> None:
        """Go to the next match (1) or the one before (-1), round and round."""
        matches = self._result.matches
        if not matches:
            self.start()
            return
        start = -1 if by > 0 else 0
        self._go((self._at if self._at >= 0 else start) + by)

    def _go(self, at: int) -> None:
        matches = self._result.matches
        self._at = at % len(matches)
        node = matches[self._at].index
        view = self._desk.session.shown()
        if view is not None and not view.nodes[node]:
            self.reveal([node])
        self._desk.session.select([node])
        canvas = self._desk.window.canvas()
        canvas.frame_selection()
        canvas.setFocus()
        view = self._desk.session.shown()
        shown = view is not None and bool(view.nodes[node])
        told = tr("Match {0} of {1}: {2}")
        if not shown:
            told += DOT + tr("hidden by hand or by a filter")
        self._desk.window.say(
            told.format(count(self._at + 1), count(len(matches)), matches[self._at].label)
        )

    def focusOutEvent(self, event: QFocusEvent) -> None:
        """Put the list away when the focus goes elsewhere."""
        super().focusOutEvent(event)
        if not self.results.underMouse():
            self.results.hide()

    def _take(self, item: QListWidgetItem) -> None:
        if item.data(MATCH) is not None:
            self.results.hide()
            self._go(item.data(MATCH))

    def select_all(self) -> None:
        """Select every match that is shown."""
        self._desk.session.select([m.index for m in self._result.matches if not m.hidden])
        self.results.hide()
        self._desk.window.canvas().setFocus()

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
        self._select = button(tr("Select all"), "link", field.select_all)
        self._select.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        foot.setSpacing(2 * STEP)
        foot.addWidget(self._select)
        foot.addWidget(self._reveal)
        foot.addStretch()
        column.addLayout(foot)
        help_line = text_label(grammar(), "small", wrap=True)
        help_line.setContentsMargins(STEP, 0, STEP, 0)
        column.addWidget(help_line)
        desk.window.installEventFilter(self)

    def fill(self, result: SearchResult, typed: str) -> None:
        """Show other results, or what of the text was not understood."""
        circuit, palette = self._desk.session.circuit, self._desk.palette
        assert circuit is not None
        self.chosen.clear()
        for at, match in enumerate(result.matches[:LISTED]):
            words = match.label + DOT + short_line(circuit, match.index)
            item = QListWidgetItem(words)
            item.setData(MATCH, at)
            item.setSizeHint(QSize(0, px(26)))
            item.setIcon(_sign(palette, circuit, match.index))
            item.setToolTip(words)
            if match.hidden:
                item.setForeground(QColor(palette.secondary))
                item.setText(words + DOT + tr("hidden"))
            self.chosen.addItem(item)
        self.chosen.setVisible(bool(result.matches))
        self.chosen.setFixedHeight(min(10, max(1, self.chosen.count())) * px(26) + 4)
        self.chosen.setCurrentRow(0)
        self._note.setText(self._told(result, typed))
        look(self._note, "error-small" if result.problem else "small")
        self._reveal.setVisible(result.n_hidden > 0)
        self._select.setVisible(len(result.matches) > 1)

    def _told(self, result: SearchResult, typed: str) -> str:
        if not typed:
            return tr("Words, or conditions that must all hold:")
        if result.problem:
            return result.problem
        if not result.matches:
            return tr("Nothing in this circuit is like that.")
        found = plural(len(result.matches), "match", "matches")
        parts = [found, tr("F3 goes to the next")]
        if result.n_hidden:
            parts.insert(1, tr("{0} hidden by this view").format(count(result.n_hidden)))
        return DOT.join(parts)

    def place_below(self, field: QWidget) -> None:
        """Appear below the field, inside the window."""
        width = max(px(440), field.width())
        corner = field.mapTo(self.parentWidget(), QPoint(field.width() - width, field.height() + 4))
        self.setFixedWidth(width)
        self.layout().activate()
        self.adjustSize()
        self.move(max(STEP, corner.x()), corner.y())
        self.show()
        self.raise_()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Put the list away when the window changes its size."""
        if event.type() == QEvent.Type.Resize:
            self.hide()
        return False


def _sign(palette: Palette, circuit: Circuit, node: int) -> QIcon:
    """Return a node's sign on the canvas as an icon."""
    shape = shape_of(NodeKind(int(circuit.nodes.kind[node])), Site(int(circuit.nodes.site[node])))
    image = QPixmap(32, 32)
    image.setDevicePixelRatio(2)
    image.fill(Qt.GlobalColor.transparent)
    painter = QPainter(image)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    paint_glyph(painter, shape, QPointF(8, 8), palette)
    painter.end()
    made = QIcon(image)
    made.addPixmap(image, QIcon.Mode.Selected)
    return made
