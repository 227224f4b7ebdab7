"""Notes as text of a figure: the part of Markdown that short notes use, set in lines.

Headings (#), bullets (-, *), **bold**, *italic* and `code` (set in bold); everything else is
words. Nothing is a link: figures point nowhere.
"""

import re
from dataclasses import replace
from typing import Final

from circuitscope.exchange.figure import Text
from circuitscope.exchange.typeface import line_height, printable, text_width

_SPANS: Final = re.compile(r"\*\*(.+?)\*\*|\*(.+?)\*|`(.+?)`")
_BOLD: Final = 600
_MOST_LINES: Final = 60

Word = tuple[str, int, bool]
"""A word, its weight, and whether it is italic."""


def set_markdown(text: str, width: float, size: float, color: str) -> tuple[list[Text], float]:
    """Set a text in lines, its top left corner at 0, 0.

    Args:
        text: Markdown.
        width: Room for a line, in points; a longer word keeps a line of its own.
        size: Type size of plain words.
        color: Of all words.

    Returns:
        Runs of text on their baselines, and the height of it all.
    """
    out: list[Text] = []
    step, y, lines = 1.12 * line_height(size), 0.0, 0
    for paragraph in text.strip().splitlines():
        words, bullet = _words(paragraph)
        indent = 1.1 * size if bullet else 0.0
        for number, line in enumerate(_lines(words, width - indent, size)):
            y += step
            lines += 1
            if bullet and number == 0:
                out.append(Text(0.0, y, "•", size, color))
            out += [replace(run, x=run.x + indent, y=y, color=color) for run in line]
            if lines == _MOST_LINES:
                return out, y
        if not words:
            y += 0.5 * step
    return out, y


def _words(paragraph: str) -> tuple[list[Word], bool]:
    stripped = paragraph.strip()
    heading = re.match(r"#{1,6}\s+", stripped)
    bullet = re.match(r"[-*]\s+", stripped)
    body = stripped[(heading or bullet).end() :] if heading or bullet else stripped  # type: ignore[union-attr]  # one of them matched
    words: list[Word] = []
    at = 0
    for found in [*_SPANS.finditer(body), None]:
        plain = body[at : found.start() if found else len(body)]
        words += [(word, _BOLD if heading else 400, False) for word in printable(plain).split()]
        if found:
            strong, slanted, code = found.groups()
            weight = _BOLD if strong or code or heading else 400
            inner = printable(strong or slanted or code)
            words += [(word, weight, bool(slanted)) for word in inner.split()]
            at = found.end()
    return words, bool(bullet)


def _lines(words: list[Word], width: float, size: float) -> list[list[Text]]:
    """Break words into lines of runs with the same weight and slant."""
    lines: list[list[Text]] = []
    line: list[Text] = []
    x, space = 0.0, text_width(" ", size)
    for word, weight, italic in words:
        wide = text_width(word, size, weight, italic=italic)
        if line and x + wide > width:
            lines.append(line)
            line, x = [], 0.0
        last = line[-1] if line else None
        if last is not None and (last.weight, last.italic) == (weight, italic):
            line[-1] = replace(last, text=f"{last.text} {word}")
        else:
            line.append(Text(x, 0.0, word, size, "", weight, italic))
        x += wide + space
    return [*lines, line] if line else lines
