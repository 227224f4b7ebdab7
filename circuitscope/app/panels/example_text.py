"""A text with its tokens shaded by activation."""

from html import escape

from circuitscope.app.theme import Palette
from circuitscope.evidence.records import Example


def example_html(palette: Palette, example: Example, maximum: float) -> str:
    """Write an example with its tokens shaded by activation and the peak in bold."""
    spaced = any(token[:1].isspace() for token in example.tokens)
    parts = []
    for at, (token, act) in enumerate(zip(example.tokens, example.activations, strict=True)):
        text = escape(token).replace(" ", "&nbsp;" if not token.strip() else " ")
        if at == example.peak:
            text = f"<b>{text}</b>"
        if act > 0:
            back = palette.mix(palette.accent, 0.12 + 0.5 * min(act / (maximum or 1), 1))
            text = f'<span style="background-color:{back}">{text}</span>'
        parts.append(text)
    return ("" if spaced else " ").join(parts)
