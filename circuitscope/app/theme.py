"""Colours of the window, and icons drawn in them.

Three palettes of one structure: light, dark and high contrast. The style sheet, the icons and the
canvas all read the same `Palette`, whose colours of nodes, edges and text are those of the
figure's theme, so a colour is named once. Sign is never told by colour alone:
negative edges are dashed and numbers carry a real minus.
"""

import re
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from string import Template

from PySide6.QtCore import QByteArray, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFontDatabase, QIcon, QPainter, QPalette, QPixmap
from PySide6.QtSvg import QSvgRenderer
from PySide6.QtWidgets import QApplication

from circuitscope.app.style import STYLE
from circuitscope.core.places import state_home
from circuitscope.core.rows import GROUP_COLORS
from circuitscope.core.shipped import shipped_path
from circuitscope.exchange import theme as paper

FAMILY = "Inter"
TEXT_PX = 13
_LINE_OF_TEXT = 18
_READS = 4.5
_SIZES = re.compile(r"(font-size|(?:min-|max-)?height): ([0-9.]+)px")
_STYLE_ICONS = ("chevron-down", "chevron-right", "chevron-up", "check", "x")


@dataclass(frozen=True)
class Palette:
    """Name every colour of the window and the canvas; values are "#RRGGBB".

    Attributes:
        window: Behind the panels; panel: the panels themselves; field: text fields and chips.
        hairline: Lines between things; border: outlines of buttons and fields.
        ink: Text; secondary: text beside text; faint: what is out of focus.
        accent: The primary action and the selection; accent_tint: a selected row.
        positive, negative: Sign of an edge or a number.
        supported: A claim confirmed on the model; error: something failed.
        token, logit: Their glyphs when in focus; feature: a node in no group; ring: hover.
        groups: Hue of each group colour name.
    """

    name: str
    dark: bool
    window: str
    panel: str
    field: str
    hairline: str
    border: str
    hover: str
    ink: str
    secondary: str
    faint: str
    accent: str
    accent_pressed: str
    accent_ink: str
    accent_tint: str
    on_accent: str
    positive: str
    negative: str
    supported: str
    supported_tint: str
    error: str
    error_tint: str
    token: str
    logit: str
    feature: str
    attention: str
    grid: str
    tooltip: str
    tooltip_ink: str
    groups: dict[str, str]

    def group(self, color: str) -> str:
        """Return the hue of a group colour name; a "#RRGGBB" passes through."""
        if color.startswith("#"):
            return color
        return self.groups.get(color, self.groups[GROUP_COLORS[0]])

    def mix(self, color: str, share: float, over: str = "") -> str:
        """Return a colour mixed into a background: opaque, as bulk drawing needs it.

        Args:
            color: The colour to thin out.
            share: How much of it is left, 0 to 1.
            over: The background; the panel where empty.
        """
        return paper.mix(color, over or self.panel, share)


def readable(background: QColor, *inks: str) -> QColor:
    """Return the first of several inks that reads on an opaque background, else black or white.

    It reads where its contrast as in WCAG 2 is 4.5: (L1 + 0.05) / (L2 + 0.05), of relative
    luminances. Black or white always has that.
    """

    def luminance(color: QColor) -> float:
        red, green, blue = (
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
            for part in (color.redF(), color.greenF(), color.blueF())
        )
        return float(0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05)

    behind = luminance(background)
    for ink in map(QColor, (*inks, "#000000", "#FFFFFF")):
        if max(luminance(ink) / behind, behind / luminance(ink)) >= _READS:
            return ink
    raise AssertionError("black or white reads on any colour")


def _palette(name: str, theme: paper.Theme, **own: str) -> Palette:
    """Return a palette whose canvas has the colours of a figure's theme."""
    shared = {
        one.name: getattr(theme, one.name) for one in fields(Palette) if hasattr(theme, one.name)
    }
    return Palette(name=name, dark=theme is paper.DARK, panel=theme.background, **{**shared, **own})


LIGHT = _palette(
    "light", paper.PRINT,
    window="#F6F5F2", field="#F2F1ED", border="#DCDBD6", hover="#F0EFEB",
    accent="#3D4FC1", accent_pressed="#33429F", accent_ink="#3D4FC1", accent_tint="#ECEDFA",
    on_accent="#FFFFFF", supported_tint="#EEF7F1", error="#B3261E", error_tint="#FBEEEC",
    tooltip="#1F2430", tooltip_ink="#FFFFFF",
    # A little darker than on paper, where they lie on white alone.
    secondary="#626C81", negative="#B04B13", feature="#838EA3", attention="#9489BD",
)  # fmt: skip

DARK = _palette(
    "dark", paper.DARK,
    window="#15171C", field="#262A33", border="#3A404C", hover="#272B34",
    accent="#5B6BDD", accent_pressed="#4A59C4", accent_ink="#A9B4FF", accent_tint="#2A3054",
    on_accent="#FFFFFF", supported_tint="#1C3328", error="#FF8A80", error_tint="#3A2424",
    tooltip="#E8EAF0", tooltip_ink="#15171C",
)  # fmt: skip

HIGH_CONTRAST = _palette(
    "contrast", paper.HIGH_CONTRAST,
    window="#FFFFFF", field="#FFFFFF", border="#000000", hover="#E6E6E6",
    accent="#0B1FA8", accent_pressed="#061476", accent_ink="#0B1FA8", accent_tint="#D6DCFF",
    on_accent="#FFFFFF", supported_tint="#E2F3E8", error="#8E0000", error_tint="#FCE4E4",
    tooltip="#000000", tooltip_ink="#FFFFFF", faint="#929292",
)  # fmt: skip

PALETTES = {palette.name: palette for palette in (LIGHT, DARK, HIGH_CONTRAST)}


def palette_for(choice: str) -> Palette:
    """Return a palette by name; "system" follows the desktop: high contrast, dark or light."""
    if choice in PALETTES:
        return PALETTES[choice]
    hints = QApplication.styleHints()
    if hints.accessibility().contrastPreference() is Qt.ContrastPreference.HighContrast:
        return HIGH_CONTRAST
    return DARK if hints.colorScheme() is Qt.ColorScheme.Dark else LIGHT


def load_fonts() -> list[str]:
    """Make the bundled fonts known to Qt; return the families found, empty where none ship."""
    if FAMILY in QFontDatabase.families():
        return [FAMILY]
    families: list[str] = []
    for file in sorted(shipped_path("resources", "fonts").glob("*.ttf")):
        number = QFontDatabase.addApplicationFont(str(file))
        families += QFontDatabase.applicationFontFamilies(number) if number >= 0 else []
    return families


def px(size: float) -> int:
    """Return a length in pixels at the text size the user chose, such as a row's height."""
    app = QApplication.instance()
    chosen = app.font().pixelSize() if isinstance(app, QApplication) else TEXT_PX
    return round(size * chosen / TEXT_PX) if chosen > 0 else round(size)


def style_sheet(palette: Palette, scale: float = 1.0) -> str:
    """Return the window's style sheet in the colours of a palette, its text scaled."""
    values = {name: value for name, value in asdict(palette).items() if isinstance(value, str)}
    values["disabled"] = palette.mix(palette.secondary, 0.6)
    values["outline"] = palette.mix(palette.secondary, 0.75)
    icons = _style_icons(palette).as_posix()
    sheet = Template(STYLE).substitute(values, text=TEXT_PX, icons=icons)
    return sheet if scale == 1 else _SIZES.sub(lambda size: _scaled(size, scale), sheet)


def _scaled(size: re.Match[str], scale: float) -> str:
    name, number = size.groups()
    whole = float(number)
    # Heights of hairlines and marks stay; those of lines of text grow with the text.
    grows = "font" in name or whole >= _LINE_OF_TEXT
    return f"{name}: {round(whole * scale, 1) if grows else number}px"


def _style_icons(palette: Palette) -> Path:
    """Write the icons that the style sheet names in a palette's colour; return their folder."""
    folder = state_home() / "icons" / palette.name
    folder.mkdir(parents=True, exist_ok=True)
    for name in _STYLE_ICONS:
        file = shipped_path("resources", "icons", f"{name}.svg")
        if file.is_file():
            color = palette.on_accent if name == "check" else palette.secondary
            text = file.read_text("utf-8").replace("currentColor", color)
            (folder / f"{name}.svg").write_text(text, "utf-8")
    return folder


def apply_theme(app: QApplication, palette: Palette, scale: float = 1.0) -> None:
    """Give the whole application the colours and the type of a palette, its text scaled."""
    colors = QPalette()
    role = QPalette.ColorRole
    for name, value in {
        role.Window: palette.window, role.WindowText: palette.ink, role.Base: palette.panel,
        role.AlternateBase: palette.field, role.Text: palette.ink, role.Button: palette.panel,
        role.ButtonText: palette.ink, role.Highlight: palette.accent_tint,
        role.HighlightedText: palette.ink, role.PlaceholderText: palette.secondary,
        role.ToolTipBase: palette.tooltip, role.ToolTipText: palette.tooltip_ink,
        role.Link: palette.accent_ink, role.Mid: palette.hairline,
    }.items():  # fmt: skip
        colors.setColor(name, QColor(value))
    for name in (role.Text, role.WindowText, role.ButtonText):
        disabled = QColor(palette.mix(palette.secondary, 0.6))
        colors.setColor(QPalette.ColorGroup.Disabled, name, disabled)
    font = app.font()
    font.setFamilies([FAMILY, "Helvetica Neue", "Segoe UI", "DejaVu Sans"])
    font.setPixelSize(round(TEXT_PX * scale))
    app.setFont(font)
    app.setPalette(colors)
    sheet = style_sheet(palette, scale)
    if sheet != app.styleSheet():
        app.setStyleSheet(sheet)


@lru_cache(maxsize=512)
def pixmap(name: str, color: str, size: int = 16, ratio: float = 2.0) -> QPixmap:
    """Return a bundled icon in one colour; an empty pixmap where no such icon ships."""
    file = shipped_path("resources", "icons", f"{name}.svg")
    image = QPixmap(QSize(round(size * ratio), round(size * ratio)))
    image.fill(Qt.GlobalColor.transparent)
    if file.is_file():
        drawing = file.read_text("utf-8").replace("currentColor", color)
        painter = QPainter(image)
        QSvgRenderer(QByteArray(drawing.encode())).render(
            painter, QRectF(0, 0, size * ratio, size * ratio)
        )
        painter.end()
    image.setDevicePixelRatio(ratio)
    return image


def icon(name: str, palette: Palette, color: str = "", size: int = 16) -> QIcon:
    """Return a bundled icon in ink, greyed where its action is disabled."""
    made = QIcon(pixmap(name, color or palette.ink, size))
    made.addPixmap(pixmap(name, palette.faint, size), QIcon.Mode.Disabled)
    return made


def app_icon() -> QIcon:
    """Return the program's own icon."""
    return QIcon(str(shipped_path("resources", "icons", "circuitscope.svg")))


@lru_cache(maxsize=128)
def swatch(color: str, size: int = 10) -> QIcon:
    """Return a small rounded square of a colour, as groups show it in lists."""
    image = QPixmap(QSize(2 * size, 2 * size))
    image.fill(Qt.GlobalColor.transparent)
    painter = QPainter(image)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(color))
    painter.drawRoundedRect(QRectF(0, 0, 2 * size, 2 * size), size / 2, size / 2)
    painter.end()
    image.setDevicePixelRatio(2)
    made = QIcon(image)
    made.addPixmap(image, QIcon.Mode.Selected)  # Qt would wash it out in the selected line
    return made
