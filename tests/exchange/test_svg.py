"""SVG files: text is text, ids are stable, the embedded font draws what it should."""

import base64
import re
import xml.etree.ElementTree as ET

import pytest
from PySide6.QtGui import QRawFont

from circuitscope.core.circuit import Circuit
from circuitscope.core.rows import Rows
from circuitscope.core.shipped import shipped_path
from circuitscope.exchange.figures import circuit_figure, link_figure
from circuitscope.exchange.fontsubset import subset
from circuitscope.exchange.vector import svg_text

NS = "{http://www.w3.org/2000/svg}"
Drawn = tuple[Circuit, Rows]


def test_words_are_text_and_nodes_have_ids_and_titles(dallas: Drawn) -> None:
    root = ET.fromstring(svg_text(circuit_figure(*dallas)))
    words = [text.text for text in root.iter(f"{NS}text")]
    assert {"say Austin", "3 features · L2–L3", "97 %"} <= set(words)
    group = next(g for g in root.iter(f"{NS}g") if g.get("id") == "g-say_Austin")
    assert group.find(f"{NS}title").text.startswith("say Austin: feature/mlp_out/2/8/301")
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(set(ids)) == len(ids)
    linked = ET.fromstring(svg_text(link_figure(*dallas)))
    assert any(g.get("id") == "n-feature-mlp_out-2-8-301" for g in linked.iter(f"{NS}g"))


def test_the_page_is_white_unless_asked_otherwise(dallas: Drawn) -> None:
    figure = circuit_figure(*dallas)
    assert '<rect width="900" ' in svg_text(figure)
    assert '<rect width="900" ' not in svg_text(figure, transparent=True)


def test_files_stay_small_with_their_font(dallas: Drawn) -> None:
    text = svg_text(circuit_figure(*dallas))
    assert "@font-face" in text
    assert len(text) < 60_000


def test_the_embedded_font_has_every_character_with_its_own_width(qapp, dallas: Drawn) -> None:
    text = svg_text(circuit_figure(*dallas))
    fonts = re.findall(r"font-weight:(\d+);.*?base64,([A-Za-z0-9+/=]+)", text)
    assert {weight for weight, _ in fonts} == {"400", "600"}
    cut = QRawFont(base64.b64decode(dict(fonts)["600"]), 100.0)
    whole = QRawFont(str(shipped_path("resources", "fonts", "Inter-SemiBold.ttf")), 100.0)
    assert cut.isValid()
    for sign in "say Austin+.5−→é"[:-1]:
        mine, theirs = cut.glyphIndexesForString(sign), whole.glyphIndexesForString(sign)
        assert mine[0] != 0
        assert cut.advancesForGlyphIndexes(mine) == whole.advancesForGlyphIndexes(theirs)


def test_composite_glyphs_bring_their_parts(qapp) -> None:
    font = shipped_path("resources", "fonts", "Inter-Regular.ttf").read_bytes()
    cut = QRawFont(subset(font, "éÅñ→"), 100.0)
    whole = QRawFont(font, 100.0)
    for sign in "éÅñ→":
        shape = cut.pathForGlyph(cut.glyphIndexesForString(sign)[0])
        expected = whole.pathForGlyph(whole.glyphIndexesForString(sign)[0])
        assert shape.elementCount() == expected.elementCount()
        for i in range(shape.elementCount()):  # the hinter may move a point by a 64th or two
            assert abs(shape.elementAt(i).x - expected.elementAt(i).x) < 0.2
            assert abs(shape.elementAt(i).y - expected.elementAt(i).y) < 0.2
        assert not shape.isEmpty()
    assert not cut.supportsCharacter(ord("z"))


@pytest.mark.parametrize("content", [b"", b"not a font", b"\x00\x01\x00\x00" + b"\xff" * 40])
def test_what_is_no_font_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="not a TrueType font"):
        subset(content, "a")
