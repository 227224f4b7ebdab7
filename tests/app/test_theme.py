"""Palettes, style sheet, words."""

import re
from pathlib import Path

import pytest
from PySide6.QtGui import QColor
from PySide6.QtWidgets import (
    QApplication,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QWidget,
)

from circuitscope.app import words
from circuitscope.app.theme import PALETTES, Palette, icon, readable, style_sheet
from circuitscope.core.rows import GROUP_COLORS


def _luminance(color: str) -> float:
    parts = (QColor(color).redF(), QColor(color).greenF(), QColor(color).blueF())
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    """Return the WCAG contrast of two colours."""
    high, low = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("palette", PALETTES.values(), ids=lambda palette: palette.name)
def test_text_reads_on_every_ground(palette: Palette) -> None:
    least = 7.0 if palette.name == "contrast" else 4.5
    for ground in (palette.panel, palette.window, palette.accent_tint):
        assert contrast(palette.ink, ground) >= 7.0
    for ground in (palette.panel, palette.window):
        assert contrast(palette.secondary, ground) >= least
        assert contrast(palette.accent_ink, ground) >= least
        for name in ("positive", "negative", "error"):
            assert contrast(getattr(palette, name), ground) >= 4.5
    for ground in (palette.field, palette.accent_tint):
        assert contrast(palette.secondary, ground) >= 4.5
    assert contrast(palette.on_accent, palette.accent) >= 4.5
    assert contrast(palette.supported, palette.supported_tint) >= 4.5


@pytest.mark.parametrize("palette", PALETTES.values(), ids=lambda palette: palette.name)
def test_glyphs_stand_out_from_the_canvas(palette: Palette) -> None:
    for name in ("token", "logit", "feature", "attention"):
        assert contrast(getattr(palette, name), palette.panel) >= 3.0
    assert all(contrast(hue, palette.panel) >= 3.0 for hue in palette.groups.values())


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("palette", PALETTES.values(), ids=lambda palette: palette.name)
def test_numbers_read_on_every_colour_of_a_heat_map(palette: Palette, share: float) -> None:
    for sign in (palette.positive, palette.negative):
        fill = palette.mix(sign, share, palette.field)
        ink = readable(QColor(fill), palette.ink, palette.panel)
        assert contrast(ink.name(), fill) >= 4.5


@pytest.mark.parametrize("palette", PALETTES.values(), ids=lambda palette: palette.name)
def test_the_style_sheet_leaves_no_name_open(palette: Palette, qapp: QApplication) -> None:
    sheet = style_sheet(palette)
    assert "$" not in sheet
    assert set(palette.groups) == set(GROUP_COLORS)
    for path in set(re.findall(r"url\(([^)]+)\)", sheet)):
        assert "<svg" in Path(path).read_text("utf-8")


def test_an_icon_is_drawn_in_the_colour_asked_for(qapp: QApplication) -> None:
    image = icon("pin", PALETTES["dark"], "#FF0000").pixmap(16, 16).toImage()
    colors = {image.pixelColor(x, y).name() for x in range(16) for y in range(16)
              if image.pixelColor(x, y).alpha() == 255}  # fmt: skip
    assert colors == {"#ff0000"}


def test_mixing_is_opaque_and_between() -> None:
    assert PALETTES["light"].mix("#000000", 0.5, "#FFFFFF") == "#808080"


@pytest.mark.parametrize(("made", "text"), [
    (words.signed(-0.117), "−0.12"), (words.signed(0.117), "+0.12"), (words.signed(-0.001), "0.00"),
    (words.count(2211), "2\u202f211"), (words.plain(-1.5), "−1.50"), (words.plain(3e-7), "3e−7"),
    (words.percent(0.86), "86\u202f%"), (words.seconds(2.14), "2.1\u202fs"),
    (words.seconds(125), "2\u202fmin 05\u202fs"), (words.shown_token(" Austin"), "Austin"),
    (words.shown_token("\n"), "⏎"), (words.plural(1, "node", "nodes"), "1 node"),
])  # fmt: skip
def test_numbers_as_people_read_them(made: str, text: str) -> None:
    assert made == text


@pytest.mark.parametrize("look", ["", "primary", "link", "quiet"])
@pytest.mark.parametrize("palette", PALETTES.values(), ids=lambda palette: palette.name)
def test_what_cannot_be_pressed_can_still_be_read(
    qapp: QApplication, palette: Palette, look: str
) -> None:
    button = QPushButton("IIIIII")
    button.setProperty("look", look)
    button.setStyleSheet(style_sheet(palette))
    button.setEnabled(False)
    around = QWidget()
    around.setStyleSheet(f"background: {palette.panel};")
    button.setParent(around)
    button.resize(button.sizeHint())
    image = button.grab().toImage()
    middle = [
        image.pixelColor(x, y).name() for x in range(8, image.width() - 8)
        for y in range(image.height() // 2 - 3, image.height() // 2 + 3)
    ]  # fmt: skip
    ground = max(set(middle), key=middle.count)
    assert max(contrast(color, ground) for color in set(middle)) >= 2.2


@pytest.mark.parametrize("field", [QLineEdit, QPlainTextEdit])
@pytest.mark.parametrize("palette", PALETTES.values(), ids=lambda palette: palette.name)
def test_hints_in_empty_fields_read(
    qapp: QApplication, palette: Palette, field: type[QLineEdit] | type[QPlainTextEdit]
) -> None:
    made = field()
    made.setPlaceholderText("IIIIIIIIIIII")
    made.setStyleSheet(style_sheet(palette))
    made.resize(200, 60)
    image = made.grab().toImage()
    inside = {image.pixelColor(x, y).name() for x in range(10, 60) for y in range(8, 50)}
    assert max(contrast(color, palette.panel) for color in inside) >= 4.5
