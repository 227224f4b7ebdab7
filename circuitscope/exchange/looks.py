"""Colours and shapes that users gave, in a diagram: a sign at a box's corner, and the legend."""

from collections.abc import Sequence

import numpy as np

from circuitscope.exchange.figure import Box, Glyphs, Layer, Shape, Text
from circuitscope.exchange.theme import NAMED_SHAPES, Preset, Theme
from circuitscope.exchange.typeface import cap_height, elide, line_height, printable, text_width
from circuitscope.graph import groups
from circuitscope.graph.looks import Look


def shape_signs(
    boxes: Sequence[groups.Box], faces: Sequence[Box], preset: Preset, theme: Theme
) -> list[Layer]:
    """Return the signs of boxes whose node was given a shape, at their top left corners."""
    found = [
        (face.x + 2.0, face.y + 2.0, NAMED_SHAPES[box.shape], face.stroke or theme.secondary)
        for box, face in zip(boxes, faces, strict=True)
        if box.shape in NAMED_SHAPES
    ]
    if not found:
        return []
    return [Layer("shapes", "Shapes", glyphs=_glyphs(found, 0.8 * preset.small, theme))]


def looks_legend(
    looks: Sequence[Look], top: float, style: tuple[Preset, Theme]
) -> tuple[list[Layer], float]:
    """Set the legend of given colours and shapes below `top`; return it and where it ends."""
    if not looks:
        return [], top
    preset, theme = style
    size, left = preset.small, preset.margin
    x, y = left, top + 2.0 * size
    signs, texts = [], []
    for look in looks:
        text = elide(printable(look.title), preset.width - 2 * left - 1.5 * size, size)
        width = 1.5 * size + text_width(text, size)
        if x + width > preset.width - left and x > left:
            x, y = left, y + 1.5 * line_height(size)
        color = theme.hue(look.color) if look.color else theme.secondary
        shape = NAMED_SHAPES.get(look.shape, Shape.DISC)
        signs.append((x + 0.5 * size, y - cap_height(size) / 2, shape, color))
        texts.append(Text(x + 1.5 * size, y, text, size, theme.secondary))
        x += width + 1.6 * size
    layer = Layer(
        "looks-legend", "Colours and shapes", glyphs=_glyphs(signs, 0.8 * size, theme),
        texts=tuple(texts),
    )  # fmt: skip
    return [layer], y + 0.4 * size


def _glyphs(signs: list[tuple[float, float, Shape, str]], size: float, theme: Theme) -> Glyphs:
    colors = tuple(dict.fromkeys(color for *_, color in signs))
    return Glyphs(
        np.array([shape for _, _, shape, _ in signs], np.uint8),
        np.array([x for x, *_ in signs], np.float32),
        np.array([y for _, y, *_ in signs], np.float32),
        np.full(len(signs), size, np.float32),
        np.array([colors.index(color) for *_, color in signs], np.uint8), colors, theme.background,
    )  # fmt: skip
