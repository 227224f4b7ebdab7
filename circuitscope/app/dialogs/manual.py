"""The manual, read inside the window: the pages of resources/manual."""

from pathlib import Path

from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import QImage, QTextBlockFormat, QTextCursor, QTextDocument
from PySide6.QtWidgets import (
    QDialog,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QTextBrowser,
    QVBoxLayout,
)

from circuitscope.app.desk import Desk
from circuitscope.app.theme import px
from circuitscope.app.widgets import MARGIN, button
from circuitscope.app.words import tr
from circuitscope.core.shipped import shipped_path

PAGES = (
    "getting-started", "the-window", "which-models", "the-example", "othello", "othello-findings",
    "sentiment",
    "tracing", "dictionaries", "features", "contextual-decomposition", "reading-a-circuit",
    "interventions", "testing", "comparing", "ground-truth", "exactness", "projects", "exporting",
    "command-line", "actions",
)  # fmt: skip
"""In reading order."""
_CONTENTS = 264


def page_title(page: Path) -> str:
    """Return a page's first heading."""
    first = page.read_text("utf-8").partition("\n")[0]
    return first.lstrip("# ").strip()


class PageText(QTextBrowser):
    """A page whose pictures are no wider than itself."""

    def loadResource(self, kind: int, name: QUrl | str) -> object:
        """Read a picture, as wide as there is room for; anything else as usual."""
        found = super().loadResource(kind, name)
        if kind != QTextDocument.ResourceType.ImageResource.value:
            return found
        image = QImage(str(shipped_path("resources", "manual") / QUrl(name).toString()))
        room = self.viewport().width() - 3 * MARGIN
        if image.width() > room > 0:
            image = image.scaledToWidth(room, Qt.TransformationMode.SmoothTransformation)
        return image


class ManualDialog(QDialog):
    """Pages on the left, text on the right; it stays open beside the work."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk.window)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(tr("Manual"))
        self.resize(px(980), px(700))
        self._pages = [shipped_path("resources", "manual", f"{name}.md") for name in PAGES]
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 24, 24, MARGIN)
        column.setSpacing(12)
        row = QHBoxLayout()
        row.setSpacing(MARGIN)
        self.contents = QListWidget()
        self.contents.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.contents.setAccessibleName(tr("Pages"))
        for page in self._pages:
            item = QListWidgetItem(page_title(page), self.contents)
            item.setToolTip(item.text())
        self.contents.setFixedWidth(px(_CONTENTS))
        self.text = PageText()
        self.text.setOpenLinks(False)
        self.text.setSearchPaths([str(shipped_path("resources", "manual"))])
        self.text.document().setDocumentMargin(MARGIN)
        self.text.setAccessibleName(tr("Page"))
        row.addWidget(self.contents)
        row.addWidget(self.text, 1)
        column.addLayout(row, 1)
        column.addWidget(button(tr("Close"), "", self.accept), 0, Qt.AlignmentFlag.AlignRight)
        self.contents.currentRowChanged.connect(self._show)
        self.contents.setCurrentRow(0)

    def _show(self, row: int) -> None:
        self.text.setMarkdown(self._pages[row].read_text("utf-8"))
        _space_out(self.text.document())
        self.text.verticalScrollBar().setValue(0)


def _space_out(document: QTextDocument) -> None:
    """Give headings, paragraphs and lines of lists room; Markdown has no style sheet in Qt."""
    block, cursor = document.begin(), QTextCursor(document)
    while block.isValid():
        look, level = QTextBlockFormat(block.blockFormat()), block.blockFormat().headingLevel()
        look.setLineHeight(120, QTextBlockFormat.LineHeightTypes.ProportionalHeight.value)
        look.setTopMargin({0: 0, 1: 0, 2: 20}.get(level, 14))
        look.setBottomMargin(8 if level else 6)
        cursor.setPosition(block.position())
        cursor.setBlockFormat(look)
        block = block.next()
