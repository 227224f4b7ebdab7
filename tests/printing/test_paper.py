"""PDF and PNG: page size, resolution, fonts, provenance; with and without a running application."""

import json
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from PySide6.QtGui import QColor, QImage

from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import CannotExpress
from circuitscope.exchange.figures import circuit_figure, link_figure
from circuitscope.exchange.format import Document, WriteOptions, export
from circuitscope.exchange.theme import PRESETS
from circuitscope.printing.pdf import pdf_bytes
from circuitscope.printing.png import image_of, pixel_size


def test_a_png_has_its_size_resolution_and_provenance(
    small_circuit: Circuit, tmp_path: Path
) -> None:
    path = tmp_path / "figure.png"
    export(Document(small_circuit), path, preset="1-column", options=WriteOptions(dpi=300))
    image = QImage(str(path))
    assert image.width() == 975
    assert image.dotsPerMeterX() == image.dotsPerMeterY() == 11811
    assert json.loads(image.text("circuitscope"))["circuit"] == small_circuit.digest
    assert image.text("Title").endswith("→ Austin")
    assert not image.hasAlphaChannel()
    assert image.pixelColor(0, 0) == QColor("white")


def test_a_png_can_be_transparent(small_circuit: Circuit, tmp_path: Path) -> None:
    path = tmp_path / "figure.png"
    export(Document(small_circuit), path, options=WriteOptions(dpi=72, transparent=True))
    assert QImage(str(path)).pixelColor(0, 0).alpha() == 0


@pytest.mark.parametrize("dpi", [0, 71, 601, -5])
def test_resolutions_out_of_range_are_refused(small_circuit: Circuit, dpi: int) -> None:
    with pytest.raises(CannotExpress, match="72 to 600"):
        image_of(circuit_figure(small_circuit, {}), dpi)


def test_pixel_sizes_are_known_before_writing(small_circuit: Circuit) -> None:
    figure = circuit_figure(small_circuit, {}, preset=PRESETS["2-column"])
    assert pixel_size(figure, 300)[0] == 2025
    assert image_of(figure, 100).width() == pixel_size(figure, 100)[0] == 675


def test_a_pdf_is_one_page_of_the_figures_size_with_text_as_text(small_circuit: Circuit) -> None:
    figure = link_figure(small_circuit, {}, preset=PRESETS["2-column"])
    content = pdf_bytes(figure)
    box = re.findall(rb"/MediaBox\s*\[([^\]]+)\]", content)
    assert len(box) == 1
    left, bottom, width, height = (float(part) for part in box[0].split())
    assert (left, bottom) == (0, 0)
    assert width == pytest.approx(486, abs=0.5)
    assert height == pytest.approx(figure.height, abs=0.5)
    assert b"/FontFile2" in content, "fonts are embedded"
    assert b"/ToUnicode" in content, "text can be found and copied"
    assert b"/Subtype /Image" not in content, "nothing is a picture"
    assert b"Inter" in content


def test_a_pdf_names_its_title_maker_and_provenance(small_circuit: Circuit) -> None:
    content = pdf_bytes(circuit_figure(small_circuit, {}))
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL)
    inflated = b"".join(_inflated(stream) for stream in streams)
    assert small_circuit.digest.encode() in inflated
    assert b"circuitscope.json" in content or "circuitscope.json".encode("utf-16-be") in content
    assert "CircuitScope".encode("utf-16-be") in content or b"CircuitScope" in content


def test_a_process_without_qt_writes_pdf_and_png_offscreen(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from circuitscope.exchange.figure import Figure, Layer, Text\n"
        "from circuitscope.printing.pdf import pdf_bytes\n"
        "from circuitscope.printing.png import image_of\n"
        "figure = Figure(100, 50, (Layer('t', texts=(Text(5, 20, 'Dallas', 10, '#1F2430'),)),))\n"
        "assert len(pdf_bytes(figure)) > 1000\n"
        "assert image_of(figure, 144).width() == 200\n"
        "assert 'QT_QPA_PLATFORM' not in os.environ\n"
        "assert 'torch' not in sys.modules\n"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("QT_QPA_PLATFORM", "DISPLAY")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr


def _inflated(stream: bytes) -> bytes:
    try:
        return zlib.decompress(stream)
    except zlib.error:
        return stream
