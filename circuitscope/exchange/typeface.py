"""Measure and shorten text in the bundled font, without Qt.

The widths come from `resources/fonts/inter-advances.json`; the bundled fonts have no kerning, so
the sum of the advances is what every viewer draws. Characters that the font lacks come from the
reader's own fonts and are measured generously: a full em for wide scripts and emoji.
"""

import json
import logging
import unicodedata
from functools import lru_cache
from typing import Any, Final

from circuitscope.core.shipped import shipped_path

FAMILY: Final = "Inter"
FALLBACKS: Final = ("Helvetica Neue", "Helvetica", "Arial", "Noto Sans", "DejaVu Sans")
ELLIPSIS: Final = "…"
_AVERAGE: Final = 0.56
_MISSING: Final = 0.66
_STYLES: Final = {400: "Regular", 500: "Medium", 600: "SemiBold", 700: "Bold"}
_SIGNS: Final = {"\n": "↵", "\r": "↵", "\t": "⇥", "\u2028": "↵", "\u2029": "↵"}

log = logging.getLogger(__name__)


def style_of(weight: int, *, italic: bool = False) -> str:
    """Return the bundled style for a weight: "Regular", "Medium", "SemiBold", "Bold", "Italic"."""
    if italic:
        return "Italic"
    return _STYLES[min(_STYLES, key=lambda known: abs(known - weight))]


@lru_cache(maxsize=1)
def _metrics() -> dict[str, Any]:
    path = shipped_path("resources", "fonts", "inter-advances.json")
    try:
        table: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        log.warning("%s is missing or damaged; text is measured by an average width", path.name)
        return {"units_per_em": 1, "advances": {}, "ascent": 0.97, "descent": -0.24}
    return table


@lru_cache(maxsize=8)
def _advances(style: str) -> dict[str, float]:
    table = _metrics()
    em = table["units_per_em"]
    return {sign: width / em for sign, width in table["advances"].get(style, {}).items()}


def _foreign(sign: str) -> float:
    if unicodedata.combining(sign) or unicodedata.category(sign) in ("Cf", "Mn", "Me"):
        return 0.0
    wide = unicodedata.east_asian_width(sign) in ("W", "F") or ord(sign) >= 0x1F000
    return 1.25 if ord(sign) >= 0x1F000 else 1.0 if wide else _MISSING


def text_width(text: str, size: float, weight: int = 400, *, italic: bool = False) -> float:
    """Return how wide a line of text is drawn, in the unit of `size`."""
    advances = _advances(style_of(weight, italic=italic))
    if not advances:
        return len(text) * _AVERAGE * size
    return size * sum(advances[c] if c in advances else _foreign(c) for c in text)


def line_height(size: float) -> float:
    """Return the distance of two baselines."""
    return 1.36 * size


def cap_height(size: float) -> float:
    """Return the height of a capital letter, for centring text in boxes."""
    return 0.727 * size


def printable(text: str) -> str:
    """Return a token or label as it can be drawn on one line.

    Line ends and tabs become signs, other control characters vanish, a space at the ends goes;
    what consists of spaces alone is shown as middle dots, one each.
    """
    signs = [_SIGNS.get(c, c) for c in text]
    kept = "".join(c for c in signs if unicodedata.category(c) not in ("Cc", "Cs", "Cn"))
    return kept.strip() or "·" * len(kept)


def elide(text: str, width: float, size: float, weight: int = 400, *, italic: bool = False) -> str:
    """Shorten a line with an ellipsis until it fits; "" where not even that fits."""
    if text_width(text, size, weight, italic=italic) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        shorter = text[:middle].rstrip() + ELLIPSIS
        if text_width(shorter, size, weight, italic=italic) <= width:
            low = middle
        else:
            high = middle - 1
    if low:
        return text[:low].rstrip() + ELLIPSIS
    return ELLIPSIS if text_width(ELLIPSIS, size, weight, italic=italic) <= width else ""


def wrap(text: str, width: float, size: float, weight: int = 400) -> list[str]:
    """Break a text into lines at its spaces; a word longer than a line is elided."""
    lines: list[str] = []
    for word in text.split():
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(joined, size, weight) <= width:
            lines[-1] = joined
        else:
            lines.append(elide(word, width, size, weight))
    return lines
