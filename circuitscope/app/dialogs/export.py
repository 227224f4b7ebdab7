"""The export dialog: what, which format, which size, with the figure itself as preview."""

from pathlib import Path
from typing import Any

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QFileDialog,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QVBoxLayout,
    QWidget,
)

from circuitscope.app.desk import Desk
from circuitscope.app.dialogs.errors import show_error
from circuitscope.app.theme import Palette, px
from circuitscope.app.widgets import MARGIN, button, give_size, look, section, text_label
from circuitscope.app.words import DOT, tr
from circuitscope.core.errors import CircuitScopeError
from circuitscope.exchange.figure import Figure
from circuitscope.exchange.figures import circuit_figure, link_figure
from circuitscope.exchange.theme import PRESETS
from circuitscope.printing.paint import paint_figure
from circuitscope.session import work
from circuitscope.session.work import file_name

LEAST_TEXT = 6.0
FORMATS = (
    (".svg", "SVG, text stays text"), (".pdf", "PDF, vector"), (".png", "PNG, pixels"),
    (".html", "HTML page, pan and zoom"), (".tex", "LaTeX, TikZ"),
    (".json", "Graph JSON, Neuronpedia"), (".graphml", "GraphML, yEd and Cytoscape"),
    (".gexf", "GEXF, Gephi"), (".dot", "DOT, Graphviz"), (".csv", "CSV tables"),
)  # fmt: skip
_FIGURES = frozenset({".svg", ".pdf", ".png", ".html", ".tex"})
DPI = (72, 150, 300, 600)
_WHATS = (("link", "Link graph"), ("circuit", "Circuit diagram"))
SIZES = {
    "screen": "Screen, 12.5 in wide", "1-column": "Paper, one column (3.25 in)",
    "2-column": "Paper, two columns (6.75 in)", "slide": "Slide, 16:9",
}  # fmt: skip


class Preview(QWidget):
    """The figure as it will be written, fitted into the frame."""

    def __init__(self, palette: Palette) -> None:
        super().__init__()
        self._palette = palette
        self.figure: Figure | None = None
        self.setMinimumSize(QSize(420, 340))
        self.setAccessibleName(tr("Preview"))

    def show_figure(self, figure: Figure | None) -> None:
        """Show another figure."""
        self.figure = figure
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint the page on the desk."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.fillRect(self.rect(), QColor(self._palette.field))
        if self.figure is not None:
            room, page = QRectF(self.rect()).adjusted(16, 16, -16, -16), self.figure
            scale = min(room.width() / page.width, room.height() / page.height)
            left = room.center().x() - page.width * scale / 2
            top = room.center().y() - page.height * scale / 2
            painter.translate(left, top)
            painter.scale(scale, scale)
            paper = QRectF(0, 0, page.width, page.height)
            painter.fillRect(paper, QColor(page.background or "#FFFFFF"))
            painter.setClipRect(paper)
            paint_figure(painter, page)
        painter.end()


class ExportDialog(QDialog):
    """Choose what is written and see it before it is."""

    def __init__(self, desk: Desk, what: str) -> None:
        super().__init__(desk.window)
        self._desk = desk
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setObjectName("ExportDialog")
        self.setWindowTitle(tr("Export"))
        give_size(self, 920, 520)
        row = QHBoxLayout(self)
        row.setContentsMargins(MARGIN, MARGIN, MARGIN, MARGIN)
        row.setSpacing(MARGIN)
        frame = QFrame()
        frame.setProperty("look", "well")
        inside = QVBoxLayout(frame)
        inside.setContentsMargins(1, 1, 1, 1)
        self.preview = Preview(desk.palette)
        inside.addWidget(self.preview)
        row.addWidget(frame, 1)
        column = QVBoxLayout()
        column.setSpacing(8)
        column.addWidget(section(tr("Figure")))
        column.addLayout(self._form(what))
        self.size_words = text_label("", "small", wrap=True)
        column.addWidget(self.size_words)
        self.warning = text_label("", "small", wrap=True)
        self._warning_frame = QFrame()
        self._warning_frame.setProperty("look", "warning")
        around = QVBoxLayout(self._warning_frame)
        around.setContentsMargins(12, 8, 12, 8)
        around.addWidget(self.warning)
        column.addWidget(self._warning_frame)
        column.addStretch()
        note = tr("Figures are printed in the light theme and carry their provenance.")
        column.addWidget(text_label(note, "note", wrap=True))
        foot = QHBoxLayout()
        foot.setSpacing(8)
        foot.addStretch()
        foot.addWidget(button(tr("Cancel"), "", self.reject))
        self.save_button = button(tr("Save…"), "primary", self.save)
        self.save_button.setDefault(True)
        foot.addWidget(self.save_button)
        column.addLayout(foot)
        side = QWidget()
        side.setFixedWidth(px(324))
        side.setLayout(column)
        row.addWidget(side)
        self.refresh()

    def _form(self, what: str) -> QFormLayout:
        chosen = self._desk.session.preferences.now.export
        form = QFormLayout()
        form.setHorizontalSpacing(12)
        form.setVerticalSpacing(8)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.what = _choices(_WHATS, what)
        self.suffix = _choices(FORMATS, chosen.suffix)
        self.preset = _choices([(name, SIZES.get(name, name)) for name in PRESETS], chosen.preset)
        self.dpi = _choices([(dpi, f"{dpi} dpi") for dpi in DPI], chosen.dpi)
        self.transparent = QCheckBox(tr("transparent page"))
        rows = ((tr("Show"), self.what), (tr("Format"), self.suffix), (tr("Size"), self.preset),
                (tr("Pixels"), self.dpi), ("", self.transparent))  # fmt: skip
        for words, field in rows:
            caption = text_label(words, "quiet")
            caption.setBuddy(field)
            field.setAccessibleName(words or tr("Transparent page"))
            form.addRow(caption, field)
        for box in (self.what, self.suffix, self.preset, self.dpi):
            box.currentIndexChanged.connect(lambda *_: self.refresh())
        return form

    # ---- the figure ------------------------------------------------------------------------
    def figure(self) -> Figure | None:
        """Return the figure as it would be written now."""
        circuit, drawing = self._desk.session.circuit, self._desk.session.drawing
        if circuit is None or drawing is None:
            return None
        draw = circuit_figure if self.what.currentData() == "circuit" else link_figure
        return draw(circuit, dict(drawing.rows), preset=PRESETS[self.preset.currentData()])

    def refresh(self) -> None:
        """Draw the preview anew; warn where text would be too small to read."""
        is_png = self.suffix.currentData() == ".png"
        self.dpi.setEnabled(is_png)
        self.dpi.setToolTip("" if is_png else tr("Vector formats have no pixels."))
        draws = self.suffix.currentData() in _FIGURES
        self.transparent.setEnabled(draws and self.suffix.currentData() != ".pdf")
        for box in (self.what, self.preset):
            box.setEnabled(draws)
            box.setToolTip("" if draws else tr("Graph files hold the whole circuit."))
        try:
            figure = self.figure()
        except CircuitScopeError as error:
            self.preview.show_figure(None)
            self._warn(error.message)
            return
        self.preview.show_figure(figure)
        if figure is not None:
            self.size_words.setText(self._size(figure))
            if not draws:
                self._warn("")
                return
            too_small = self._small_text(figure)
            told = [text if text.endswith(".") else f"{text}." for text in figure.warnings]
            self._warn("\n".join((*too_small, *told)), grave=bool(too_small))

    def _size(self, figure: Figure) -> str:
        if self.suffix.currentData() not in _FIGURES:
            circuit = self._desk.session.circuit
            assert circuit is not None
            words = tr("{0} nodes, {1} edges, the drawing's groups and labels, and provenance.")
            return words.format(len(circuit.nodes), len(circuit.edges))
        inches = f"{figure.width / 72:.2f} × {figure.height / 72:.2f} in"
        if self.suffix.currentData() != ".png":
            return inches
        dpi = self.dpi.currentData()
        wide, high = round(figure.width * dpi / 72), round(figure.height * dpi / 72)
        return inches + DOT + f"{wide} × {high} px"

    def _small_text(self, figure: Figure) -> tuple[str, ...]:
        smallest = figure.smallest_text()
        if smallest >= LEAST_TEXT:
            return ()
        words = tr("Some text is {0:.1f} pt high; below 6 pt it is hard to read in print. "
                   "Choose a larger size, or show fewer nodes.")  # fmt: skip
        return (words.format(smallest),)

    def _warn(self, text: str, *, grave: bool = True) -> None:
        look(self._warning_frame, "warning" if grave else "remark")
        self.warning.setText(text)
        self._warning_frame.setVisible(bool(text))

    # ---- saving ----------------------------------------------------------------------------
    def save(self) -> None:
        """Ask where to, write the file, and remember the choices."""
        suffix = self.suffix.currentData()
        path, _ = QFileDialog.getSaveFileName(
            self, tr("Save figure"), str(self._suggested(suffix)), f"*{suffix}"
        )
        if not path:
            return
        target = Path(path) if path.endswith(suffix) else Path(path + suffix)
        options: dict[str, Any] = {
            "preset": self.preset.currentData(), "dpi": self.dpi.currentData(),
            "transparent": self.transparent.isChecked() and self.transparent.isEnabled(),
        }  # fmt: skip
        session = self._desk.session
        try:
            job = work.export_large(session, target)
            if job is None:
                session.export(target, what=self.what.currentData(), **options)
        except CircuitScopeError as error:
            show_error(self, error)
            return
        self._desk.session.preferences.change(
            "export", suffix=suffix, preset=options["preset"], dpi=options["dpi"],
            folder=str(target.parent),
        )  # fmt: skip
        self._desk.window.say(tr("Wrote {0}" if job is None else "Writing {0} …").format(target))
        self.accept()

    def _suggested(self, suffix: str) -> Path:
        session = self._desk.session
        kept = session.preferences.now.export.folder
        project = session.project
        beside = Path(project.path).parent if project is not None and project.path else Path.home()
        folder = Path(kept) if kept and Path(kept).is_dir() else beside
        name = project.finding(session.active).name if project is not None else "figure"
        return folder / (file_name(name) + suffix)


def _choices(entries: Any, value: Any) -> QComboBox:
    box = QComboBox()
    for data, words in entries:
        box.addItem(tr(words), data)
    box.setCurrentIndex(max(0, box.findData(value)))
    # Its longest entry must not take the room of the captions.
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(10)
    return box
