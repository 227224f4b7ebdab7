"""Write a figure as PNG: any resolution from 72 to 600 dpi, provenance in its text chunks."""

import json
import math
from pathlib import Path
from typing import Final

from PySide6.QtCore import QBuffer, QByteArray, QIODevice, Qt
from PySide6.QtGui import QColor, QImage, QPainter

from circuitscope.core.errors import CannotExpress, ExchangeError
from circuitscope.core.progress import Progress
from circuitscope.exchange.figure import Figure
from circuitscope.exchange.format import Document, Imported, WriteOptions
from circuitscope.exchange.saving import save_bytes
from circuitscope.printing.paint import ensure_gui, paint_figure

LOWEST_DPI: Final = 72
HIGHEST_DPI: Final = 600
_POINTS_PER_INCH: Final = 72.0
_INCHES_PER_METRE: Final = 1000 / 25.4
_MOST_PIXELS: Final = 30_000


def pixel_size(figure: Figure, dpi: int) -> tuple[int, int]:
    """Return width and height of a figure in pixels, as the export dialog shows them."""
    scale = dpi / _POINTS_PER_INCH
    return math.ceil(figure.width * scale - 1e-6), math.ceil(figure.height * scale - 1e-6)


def image_of(figure: Figure, dpi: int = 300, *, transparent: bool = False) -> QImage:
    """Draw a figure into an image.

    Raises:
        CannotExpress: The resolution is out of range, or the image would be too large.
    """
    if not LOWEST_DPI <= dpi <= HIGHEST_DPI:
        raise CannotExpress(
            f"PNG files are written with {LOWEST_DPI} to {HIGHEST_DPI} dpi, not {dpi}.",
            kept="Nothing was written.",
            hint="Choose 300 for print, 150 for slides.",
        )
    width, height = pixel_size(figure, dpi)
    ensure_gui()
    image = QImage(width, height, QImage.Format.Format_ARGB32_Premultiplied)
    if max(width, height) > _MOST_PIXELS or image.isNull():
        raise CannotExpress(
            f"The figure would be {width} by {height} pixels at {dpi} dpi.",
            kept="Nothing was written.",
            hint="Choose fewer dpi, or SVG or PDF.",
        )
    clear = transparent or not figure.background
    image.fill(QColor(Qt.GlobalColor.transparent) if clear else QColor(figure.background))
    painter = QPainter(image)
    painter.scale(dpi / _POINTS_PER_INCH, dpi / _POINTS_PER_INCH)
    paint_figure(painter, figure, background=not clear)
    painter.end()
    image.setDotsPerMeterX(round(dpi * _INCHES_PER_METRE))
    image.setDotsPerMeterY(round(dpi * _INCHES_PER_METRE))
    image.setText("Title", figure.title)
    image.setText("Description", figure.description)
    image.setText("Software", f"CircuitScope {figure.metadata.get('version', '')}".strip())
    image.setText("circuitscope", json.dumps(figure.metadata, ensure_ascii=True, sort_keys=True))
    return image


class Png:
    """Portable Network Graphics."""

    suffix = ".png"
    title = "PNG image"
    can_read = False
    can_write = True
    draws = True

    def write(self, document: Document, path: Path, options: WriteOptions) -> None:
        """Write the document's figure; see `exchange.format.FileFormat`."""
        assert document.figure is not None, "PNG is written from a figure"
        image = image_of(document.figure, options.dpi, transparent=options.transparent)
        if not options.transparent:
            image = image.convertToFormat(QImage.Format.Format_RGB32)
        content = QByteArray()
        buffer = QBuffer(content)
        buffer.open(QIODevice.OpenModeFlag.WriteOnly)
        if not image.save(buffer, "PNG"):  # type: ignore[call-overload] # stubs say bytes
            raise ExchangeError(
                f"Qt could not encode {path.name} as PNG.",
                kept="Nothing was written.",
                hint="Choose fewer dpi, or SVG or PDF.",
            )
        save_bytes(path, bytes(content.data()))

    def read(self, path: Path, progress: Progress) -> Imported:
        """Refuse: a picture holds no graph."""
        raise CannotExpress(f"{path.name} is a picture and cannot be read as a graph.")
