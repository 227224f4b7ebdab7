"""Programs that people use read what is exported; where one is absent, the reason is said."""

import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtGui import QImage

from circuitscope.core.circuit import Circuit
from circuitscope.core.rows import RowKey, Rows
from circuitscope.exchange.figures import circuit_figure, link_figure
from circuitscope.exchange.format import Document, export
from circuitscope.exchange.formats.tikz import tikz_text
from circuitscope.exchange.theme import PRESETS, PRINT

Drawn = tuple[Circuit, Rows]
ODD = 'a <b> & "c" \x01 ]]> 漢字 \u202e end'


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not shutil.which(program), reason=f"{program} is not installed")


def run(*command: object, timeout: float = 300, **more: object) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, timeout=timeout, check=False, **more
    )
    assert done.returncode == 0, (done.stdout + done.stderr).decode("utf-8", "replace")[-2000:]
    return done.stdout.decode("utf-8", "replace")


@pytest.fixture
def odd(dallas: Drawn) -> Drawn:
    """Return Dallas with a label and a group that no format can take as they are."""
    circuit, rows = dallas
    key = str(circuit.nodes.key(0))
    rows = {**rows, RowKey("c", "label", key): {"text": ODD, "source": "person"}}
    rows[RowKey("c", "group", "odd")] = {"label": ODD, "color": "teal"}
    rows[RowKey("c", "member", key)] = {"group": "odd"}
    return replace(circuit, tokens=(ODD, *circuit.tokens[1:])), rows


@needs("xmllint")
@pytest.mark.parametrize("suffix", [".svg", ".graphml", ".gexf"])
def test_xmllint_finds_no_fault(odd: Drawn, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    export(Document(*odd), path)
    run("xmllint", "--nonet", "--noout", path)


@needs("pdffonts")
@needs("pdfinfo")
@pytest.mark.parametrize("preset", ["1-column", "2-column"])
@pytest.mark.parametrize("what", ["circuit", "link_graph"])
def test_poppler_finds_one_page_of_embedded_fonts(
    dallas: Drawn, tmp_path: Path, preset: str, what: str
) -> None:
    path = tmp_path / "x.pdf"
    export(Document(*dallas), path, what=what, preset=preset)
    fonts = [line.split() for line in run("pdffonts", path).splitlines()[2:]]
    assert fonts
    for font in fonts:
        assert (font[-5], font[-3]) == ("yes", "yes"), "embedded, and its text can be copied"
        assert "Type 3" not in " ".join(font)
    told = dict(line.split(":", 1) for line in run("pdfinfo", path).splitlines() if ":" in line)
    assert told["Pages"].strip() == "1"
    width = float(re.match(r"\s*([\d.]+)", told["Page size"])[1])
    assert width == pytest.approx(PRESETS[preset].width, abs=0.5)
    assert "Austin" in told["Title"]
    if shutil.which("pdftotext"):
        assert "Dallas" in run("pdftotext", path, "-")


def has_helvetica() -> bool:
    found = shutil.which("kpsewhich") and subprocess.run(["kpsewhich", "phvr8t.tfm"], check=False)
    return bool(found) and found.returncode == 0


@needs("pdflatex")
@needs("pdfinfo")
@pytest.mark.skipif(not has_helvetica(), reason="this TeX has no Helvetica")
def test_the_page_of_plain_latex_is_the_figure(dallas: Drawn, tmp_path: Path) -> None:
    figure = circuit_figure(*dallas, preset=PRESETS["1-column"])
    (tmp_path / "x.tex").write_text(tikz_text(figure), "utf-8")
    run("pdflatex", "-interaction=nonstopmode", "-halt-on-error", "x.tex", cwd=tmp_path)
    told = run("pdfinfo", "x.pdf", cwd=tmp_path)
    size = re.search(r"Page size:\s+([\d.]+) x ([\d.]+)", told)
    assert re.search(r"Pages:\s+1\b", told)
    assert float(size[1]) == pytest.approx(figure.width, abs=0.5)
    assert float(size[2]) == pytest.approx(figure.height, abs=0.5)


CHROMIUM = next((name for name in ("chromium", "chromium-browser", "google-chrome")
                 if shutil.which(name)), "chromium")  # fmt: skip


@pytest.mark.slow
@needs(CHROMIUM)
def test_a_browser_without_network_shows_the_page(odd: Drawn, tmp_path: Path) -> None:
    path, shot, log = tmp_path / "x.html", tmp_path / "x.png", tmp_path / "net.json"
    export(Document(*odd), path, what="circuit")
    common = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
              f"--user-data-dir={tmp_path / 'profile'}", "--disable-background-networking",
              "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=3000"]  # fmt: skip
    home = {**os.environ, "HOME": str(tmp_path)}
    shown = run(*common, "--dump-dom", path.as_uri(), env=home)
    assert "<svg" in shown
    assert shown.count("<title") < path.read_text("utf-8").count("<title"), "the script ran"
    run(*common, f"--log-net-log={log}", f"--screenshot={shot}", "--window-size=1000,800",
        path.as_uri(), env=home)  # fmt: skip
    image = QImage(str(shot)).convertToFormat(QImage.Format.Format_Grayscale8)
    assert (image.width(), image.height()) == (1000, 800)
    shades = {image.pixelColor(x, y).red() for x in range(0, 1000, 5) for y in range(0, 800, 5)}
    assert len(shades) > 20, "something is drawn"
    asked = set(re.findall(r'"url":"(https?://[^"]+)"', log.read_text("utf-8")))
    assert not [url for url in asked if "x.html" in url or "font" in url], asked


def grey(color: str) -> float:
    """Return the relative luminance that a grey print has, 0 to 1."""
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def contrast(color: str, page: str = "#FFFFFF") -> float:
    light, dark = sorted((grey(color), grey(page)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_in_grey_signs_and_kinds_are_told_by_more_than_colour(dallas: Drawn, preset: str) -> None:
    figure = circuit_figure(*dallas, preset=PRESETS[preset])
    layers = {layer.id: layer for layer in figure.layers}
    curves = layers["edges"].curves
    shown = [curves.colors[at] for at in curves.color]
    assert {PRINT.positive, PRINT.negative} == set(shown)
    for color, is_dashed in zip(shown, curves.dashed.tolist(), strict=True):
        assert is_dashed == (color == PRINT.negative), "negative edges are dashed"
        assert contrast(color) >= 3
    numbers = [box.texts[0].text for box in layers["numbers"].boxes]
    assert [text[0] == "−" for text in numbers] == curves.dashed.tolist()
    for text in figure.texts():
        page = PRINT.logit if text.color == PRINT.on_logit else PRINT.background
        assert contrast(text.color, page) >= 4.5 or text.weight >= 600, text
    graph = link_figure(*dallas, preset=PRESETS[preset])
    assert "takes away" in " ".join(text.text for text in graph.texts()), "dashes are told"
    shapes = {
        code for layer in graph.layers if layer.glyphs for code in layer.glyphs.shape.tolist()
    }
    assert len(shapes) >= 3, "tokens, features and errors have shapes of their own"
