"""Make the bundled Inter fonts and the table of their advance widths.

Figures are measured without Qt from `resources/fonts/inter-advances.json`, so the sum of the
advances must be the width that every viewer draws. Kerning and contextual alternates are
therefore left out of the bundled fonts: a kerned pair would be narrower than measured, and the
alternates turn "->" in a token into an arrow that the model never saw.

Source: npm package inter-ui 4.1.1 (Inter 4.1, SIL Open Font Licence 1.1 without a reserved font
name, so a subset may keep the name). To make fonts and table again (needs fonttools and brotli):

    npm pack inter-ui@4.1.1 && tar xzf inter-ui-4.1.1.tgz
    python packaging/make_font_metrics.py --source package/web

Without `--source` only the table is made, from the fonts that are there (needs fonttools).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from fontTools import subset
from fontTools.ttLib import TTFont

FONTS = Path(__file__).resolve().parents[1] / "resources" / "fonts"
STYLES = ("Regular", "Medium", "SemiBold", "Bold", "Italic")
RANGES = (
    (0x0020, 0x024F),  # Latin, Latin-1, Latin Extended-A and -B
    (0x0250, 0x036F),  # phonetic letters, modifiers, combining marks
    (0x0370, 0x052F),  # Greek and Cyrillic
    (0x1E00, 0x1EFF),  # Latin Extended Additional
    (0x2000, 0x214F),  # punctuation, super- and subscripts, currencies, letter-like
    (0x2150, 0x22FF),  # number forms, arrows, mathematical operators
    (0x2300, 0x23FF),  # technical signs such as the return key
    (0x25A0, 0x27BF),  # geometric shapes, symbols, ticks and crosses
    (0x27E6, 0x27EF),  # mathematical brackets
    (0x2B00, 0x2BFF),  # further arrows and shapes
)
FEATURES = ("ccmp", "locl", "mark", "mkmk", "tnum", "zero")


def make_subset(source: Path, target: Path) -> None:
    """Write one style with the bundled ranges and without features that change widths."""
    options = subset.Options(layout_features=list(FEATURES), name_IDs=["*"], notdef_outline=True)
    font = TTFont(source, recalcTimestamp=False)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=[c for first, last in RANGES for c in range(first, last + 1)])
    subsetter.subset(font)
    font.flavor = None
    font.save(target)


def read_metrics(paths: dict[str, Path]) -> dict[str, Any]:
    """Read vertical metrics and advance widths of all styles, in font units.

    Args:
        paths: Font file of each style.

    Returns:
        `units_per_em`, the vertical metrics of Regular, `missing` (the width of a character that
        the style lacks) and `advances`, a width for each character of each style.
    """
    fonts = {style: TTFont(path) for style, path in paths.items()}
    regular = fonts["Regular"]
    advances = {}
    for style, font in fonts.items():
        widths = font["hmtx"].metrics
        cmap = sorted(font.getBestCmap().items())
        advances[style] = {chr(code): widths[glyph][0] for code, glyph in cmap}
    return {
        "family": "Inter",
        "version": regular["name"].getDebugName(5),
        "units_per_em": regular["head"].unitsPerEm,
        "ascent": regular["hhea"].ascent,
        "descent": regular["hhea"].descent,
        "x_height": regular["OS/2"].sxHeight,
        "cap_height": regular["OS/2"].sCapHeight,
        "missing": {style: font["hmtx"].metrics[".notdef"][0] for style, font in fonts.items()},
        "advances": advances,
    }


def main() -> None:
    """Make the fonts when a source folder is given, then the table."""
    parser = argparse.ArgumentParser(description="Make the bundled fonts and their widths.")
    parser.add_argument("--source", type=Path, help="folder web/ of the npm package inter-ui")
    source = parser.parse_args().source
    paths = {style: FONTS / f"Inter-{style}.ttf" for style in STYLES}
    if source is not None:
        for style, path in paths.items():
            make_subset(source / f"Inter-{style}.woff2", path)
    text = json.dumps(read_metrics(paths), ensure_ascii=False, separators=(",", ":"))
    (FONTS / "inter-advances.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
