"""Write a figure as PDF: the page is the figure, fonts are embedded, text stays text."""

import json
from pathlib import Path

from PySide6.QtCore import QBuffer, QByteArray, QIODevice, QMarginsF, QSizeF
from PySide6.QtGui import QPageLayout, QPageSize, QPainter, QPdfWriter

from circuitscope.core.errors import CannotExpress, ExchangeError
from circuitscope.core.progress import Progress
from circuitscope.exchange.figure import Figure
from circuitscope.exchange.format import Document, Imported, WriteOptions
from circuitscope.exchange.saving import save_bytes
from circuitscope.printing.paint import ensure_gui, paint_figure

_RESOLUTION = 1200


def pdf_bytes(figure: Figure, *, transparent: bool = False) -> bytes:
    """Draw a figure as a PDF of one page.

    The provenance is attached to the file as `circuitscope.json`; the document's title is the
    figure's, its creator names the program and the circuit's digest.
    """
    ensure_gui()
    content = QByteArray()
    buffer = QBuffer(content)
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    writer = QPdfWriter(buffer)
    writer.setPdfVersion(QPdfWriter.PdfVersion.PdfVersion_1_6)
    size = QPageSize(
        QSizeF(figure.width, figure.height), QPageSize.Unit.Point, "figure",
        QPageSize.SizeMatchPolicy.ExactMatch,
    )  # fmt: skip
    writer.setPageLayout(
        QPageLayout(size, QPageLayout.Orientation.Portrait, QMarginsF(), QPageLayout.Unit.Point)
    )
    writer.setResolution(_RESOLUTION)
    version, digest = figure.metadata.get("version", ""), figure.metadata.get("circuit", "")
    writer.setTitle(figure.title)
    writer.setCreator(f"CircuitScope {version} · circuit {digest[:16]}")
    record = json.dumps(figure.metadata, ensure_ascii=False, sort_keys=True, indent=1)
    writer.addFileAttachment("circuitscope.json", QByteArray(record.encode()), "application/json")
    painter = QPainter()
    if not painter.begin(writer):
        raise ExchangeError("Qt could not start a PDF.", kept="Nothing was written.")
    painter.scale(_RESOLUTION / 72, _RESOLUTION / 72)
    paint_figure(painter, figure, background=not transparent)
    painter.end()
    del writer
    return bytes(content.data())


class Pdf:
    """Portable Document Format."""

    suffix = ".pdf"
    title = "PDF document"
    can_read = False
    can_write = True
    draws = True

    def write(self, document: Document, path: Path, options: WriteOptions) -> None:
        """Write the document's figure; see `exchange.format.FileFormat`."""
        assert document.figure is not None, "PDF is written from a figure"
        save_bytes(path, pdf_bytes(document.figure, transparent=options.transparent))

    def read(self, path: Path, progress: Progress) -> Imported:
        """Refuse: a drawing holds no graph."""
        raise CannotExpress(f"{path.name} is a drawing and cannot be read as a graph.")
