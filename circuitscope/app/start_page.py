"""The start page: examples as pictures, recent projects, and the ways to begin.

Works with no model and no torch. A picture is the one that lies beside an example, or the one
kept when a project was saved last.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import (
    QColor,
    QDragEnterEvent,
    QDragLeaveEvent,
    QDropEvent,
    QImage,
    QPainter,
    QPainterPath,
)
from PySide6.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from circuitscope.app.bridge import to_gui
from circuitscope.app.desk import Desk
from circuitscope.app.theme import Palette, icon, pixmap
from circuitscope.app.widgets import STEP, Clickable, button, clear, elided, section, text_label
from circuitscope.app.words import tr
from circuitscope.core.places import state_home
from circuitscope.core.shipped import shipped_path

PICTURE = QSize(288, 160)
_SHOWN_RECENT = 8


@dataclass(frozen=True, slots=True)
class Example:
    """A bundled project and what its card says."""

    path: Path
    title: str
    line: str
    picture: Path | None


def examples() -> list[Example]:
    """Return the bundled projects, those with a card first."""
    folder = shipped_path("projects")
    cards = _cards(folder)
    found = []
    for path in sorted(folder.glob("**/*.circuitscope")):
        card = cards.get(path.name, {})
        pictures = (
            path.with_suffix(".png"),
            shipped_path("resources", "pictures", path.stem + ".png"),
        )
        picture = next((file for file in pictures if file.is_file()), None)
        title = str(card.get("title", path.stem.replace("-", " ").replace("_", " ")))
        found.append(Example(path, title, str(card.get("line", tr("Bundled example"))), picture))
    return sorted(found, key=lambda example: example.path.name not in cards)


def _cards(folder: Path) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for file in sorted(folder.glob("**/cards.json")):
        try:
            data = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(data, dict):
            found.update({str(name): card for name, card in data.items() if isinstance(card, dict)})
    return found


def thumbnail_path(project: Path | str) -> Path:
    """Return where the picture of a project is kept."""
    folder = state_home() / "thumbnails"
    folder.mkdir(exist_ok=True)
    name = hashlib.sha256(str(Path(project).absolute()).encode()).hexdigest()[:24]
    return folder / f"{name}.png"


class StartPage(QWidget):
    """What is seen when no project is open."""

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._desk = desk
        self.setObjectName("Desk")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setAccessibleName(tr("Start page"))
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        outer.addWidget(scroll)
        page = QWidget()
        page.setObjectName("Desk")
        scroll.setWidget(page)
        row = QHBoxLayout(page)
        row.addStretch(1)
        middle = QWidget()
        middle.setMaximumWidth(960)
        middle.setMinimumWidth(640)
        row.addWidget(middle, 12)
        row.addStretch(1)
        column = QVBoxLayout(middle)
        column.setContentsMargins(24, 48, 24, 24)
        column.setSpacing(STEP)
        self._fill(column)
        to_gui(desk.session.preferences.changed, self._refresh_recent, self)
        desk.watch.project.connect(self._refresh_recent)

    def _fill(self, column: QVBoxLayout) -> None:
        column.addWidget(text_label("CircuitScope", "title"))
        line = tr("See, test and publish the circuits inside a language model, "
                  "on your own machine.")  # fmt: skip
        column.addWidget(text_label(line, "quiet"))
        column.addSpacing(24)
        cards = examples()
        if cards:
            column.addWidget(section(tr("Examples")))
            column.addSpacing(4)
            column.addLayout(self._card_grid(cards))
            column.addSpacing(24)
        both = QHBoxLayout()
        both.setSpacing(48)
        both.addLayout(self._ways(), 2)
        self._recent = QVBoxLayout()
        self._recent.setSpacing(4)
        both.addLayout(self._recent, 3)
        column.addLayout(both)
        column.addStretch()
        self._refresh_recent()

    def _card_grid(self, cards: list[Example]) -> QGridLayout:
        grid = QGridLayout()
        grid.setSpacing(16)
        for at, example in enumerate(cards):
            card = ExampleCard(self._desk.palette, example)
            card.clicked.connect(lambda path=example.path: self._open(path))
            grid.addWidget(card, at // 3, at % 3)
        for column in range(3):
            grid.setColumnStretch(column, 1)
        return grid

    def _ways(self) -> QVBoxLayout:
        column = QVBoxLayout()
        column.setSpacing(STEP)
        column.addWidget(section(tr("Begin")))
        column.addSpacing(4)
        pictures = {"trace.new": "play", "file.new": "file-plus", "file.open": "folder-open",
                    "file.import": "file-json"}  # fmt: skip
        for action_id, words, style in (
            ("trace.new", tr("New trace…"), "primary"),
            ("file.new", tr("New project"), ""),
            ("file.open", tr("Open project…"), ""),
            ("file.import", tr("Import graph JSON…"), ""),
        ):
            made = button(words, style, partial(self._desk.trigger, action_id))
            made.setToolTip(self._desk.actions[action_id].statusTip())
            color = self._desk.palette.on_accent if style else ""
            made.setIcon(icon(pictures[action_id], self._desk.palette, color))
            made.setMinimumHeight(32)
            column.addWidget(made)
        column.addWidget(DropTarget(self._desk))
        note = tr("Saved circuits and published graphs can be looked at without a model. "
                  "To trace, choose a model folder in the trace dialog.")  # fmt: skip
        column.addWidget(text_label(note, "note", wrap=True))
        column.addStretch()
        return column

    def _refresh_recent(self, *_: object) -> None:
        clear(self._recent)
        self._recent.addWidget(section(tr("Recent")))
        self._recent.addSpacing(4)
        shipped = shipped_path("projects")
        known = [Path(path) for path in self._desk.session.preferences.now.recent.projects]
        paths = [path for path in known if not path.is_relative_to(shipped) and path.is_file()]
        for path in paths[:_SHOWN_RECENT]:
            row = RecentRow(self._desk.palette, path)
            row.clicked.connect(lambda path=path: self._open(path))
            self._recent.addWidget(row)
        if not paths:
            words = tr("Projects that you save appear here.")
            self._recent.addWidget(text_label(words, "quiet"))
        self._recent.addStretch()

    def _open(self, path: Path) -> None:
        self._desk.window.open_path(path)


class ExampleCard(Clickable):
    """A picture with a title and a line below."""

    def __init__(self, palette: Palette, example: Example) -> None:
        super().__init__()
        self.path = example.path
        self.setProperty("look", "card")
        self.setAccessibleName(example.title)
        self.setToolTip(tr("Open “{0}”").format(example.title))
        column = QVBoxLayout(self)
        column.setContentsMargins(1, 1, 1, 12)
        column.setSpacing(2)
        column.addWidget(Picture(palette, example.picture))
        for text, style in ((example.title, "strong"), (example.line, "small")):
            label = text_label(text, style, wrap=True)
            label.setContentsMargins(12, 6 if style == "strong" else 0, 12, 0)
            column.addWidget(label)
        column.addStretch()


class RecentRow(Clickable):
    """A recent project: a small picture, its name and its folder."""

    def __init__(self, palette: Palette, path: Path) -> None:
        super().__init__()
        self.setAccessibleName(path.stem)
        self.setToolTip(str(path))
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 4, 0, 4)
        row.setSpacing(12)
        row.addWidget(Picture(palette, thumbnail_path(path), QSize(64, 40), radius=4))
        words = QVBoxLayout()
        words.setSpacing(0)
        words.addWidget(elided(path.stem, "strong"))
        home = str(Path.home())
        folder = str(path.parent)
        words.addWidget(elided("~" + folder[len(home):] if folder.startswith(home) else folder,
                               "small"))  # fmt: skip
        row.addLayout(words, 1)


class Picture(QWidget):
    """A picture whole in its frame, on its own paper; a hint of a circuit where there is none."""

    def __init__(
        self, palette: Palette, file: Path | None, size: QSize = PICTURE, radius: int = 7
    ) -> None:
        super().__init__()
        self._palette, self._radius = palette, radius
        self._image = QImage(str(file)) if file is not None and file.is_file() else QImage()
        self._paper = QColor(palette.field)
        if not self._image.isNull():
            self._paper = self._image.pixelColor(0, 0)
        self.setMinimumHeight(size.height())
        if size == PICTURE:
            self.setMinimumWidth(180)
        else:
            self.setFixedSize(size)

    def paintEvent(self, event: object) -> None:
        """Paint the picture in the middle of the frame."""
        painter = QPainter(self)
        painter.setRenderHints(
            QPainter.RenderHint.Antialiasing | QPainter.RenderHint.SmoothPixmapTransform
        )
        frame = QRectF(self.rect())
        path = QPainterPath()
        path.addRoundedRect(frame, self._radius, self._radius)
        painter.setClipPath(path)
        painter.fillRect(frame, QColor(self._palette.field))
        if not self._image.isNull():
            painter.fillRect(frame, self._paper)
            ratio = self.devicePixelRatioF()
            # Reduced in one go, a drawing's hairlines would fall between the pixels.
            small = self._image.scaled(
                (frame.adjusted(4, 4, -4, -4).size() * ratio).toSize(),
                Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation,
            )  # fmt: skip
            width, height = small.width() / ratio, small.height() / ratio
            at = QRectF((frame.width() - width) / 2, (frame.height() - height) / 2, width, height)
            painter.drawImage(at, small)
        else:
            self._paint_hint(painter, frame)
        painter.end()

    def _paint_hint(self, painter: QPainter, frame: QRectF) -> None:
        side = min(frame.width(), frame.height()) / 2.2
        image = pixmap("workflow", self._palette.faint, round(side))
        at = frame.center()
        painter.drawPixmap(round(at.x() - side / 2), round(at.y() - side / 2), image)


class DropTarget(QFrame):
    """A frame that takes a project, a graph file or a model folder dropped on it."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        self.setProperty("look", "drop")
        self.setAcceptDrops(True)
        self.setMinimumHeight(72)
        column = QVBoxLayout(self)
        picture = QLabel()
        picture.setPixmap(pixmap("upload", desk.palette.secondary, 18))
        picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
        words = text_label(tr("or drop a project, a graph or a model folder"), "small")
        words.setAlignment(Qt.AlignmentFlag.AlignCenter)
        column.addStretch()
        column.addWidget(picture)
        column.addWidget(words)
        column.addStretch()

    def _set_over(self, *, over: bool) -> None:
        self.setProperty("over", "true" if over else "false")
        self.style().unpolish(self)
        self.style().polish(self)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Welcome files."""
        if event.mimeData().hasUrls():
            event.acceptProposedAction()
            self._set_over(over=True)

    def dragLeaveEvent(self, event: QDragLeaveEvent) -> None:
        """Return to rest."""
        self._set_over(over=False)

    def dropEvent(self, event: QDropEvent) -> None:
        """Open what was dropped."""
        self._set_over(over=False)
        event.acceptProposedAction()
        self._desk.window.drop(event.mimeData())
