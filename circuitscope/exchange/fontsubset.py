"""Cut a TrueType font down to the characters of one figure, so that it fits into an SVG file."""

from collections.abc import Iterable
from io import BytesIO


def subset(font: bytes, characters: Iterable[str]) -> bytes:
    """Return a font that draws these characters and no others; the same input, the same bytes.

    Args:
        font: A TrueType font.
        characters: What to keep; characters that the font lacks are left out.

    Raises:
        ValueError: The bytes are not such a font.
    """
    # Slow to import, and only files with text need it.
    from fontTools.subset import Options, Subsetter
    from fontTools.ttLib import TTFont, TTLibError

    options = Options(layout_features=[], hinting=False, notdef_outline=True, name_IDs=[1, 2, 4, 6])
    try:
        cut = TTFont(BytesIO(font), recalcTimestamp=False)
        subsetter = Subsetter(options)
        subsetter.populate(unicodes=[ord(character) for character in characters])
        subsetter.subset(cut)
        written = BytesIO()
        cut.save(written, reorderTables=True)
    except (TTLibError, KeyError, AssertionError) as error:
        raise ValueError(f"not a TrueType font that can be cut: {error}") from error
    return written.getvalue()
