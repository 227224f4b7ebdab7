"""Badges in figures: a sign at the corner of what was tested, and their legend.

supported      check, green          total effect of the predicted sign, beyond controls
compensated    ring, grey            frozen effect real, total effect within controls
contradicted   cross, orange         beyond controls, of the other sign
inconclusive   hollow diamond, grey  nothing stands out
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from circuitscope.core.badges import Badge
from circuitscope.exchange.figure import Glyphs, Layer, Shape, Text
from circuitscope.exchange.theme import Preset, Theme
from circuitscope.exchange.typeface import cap_height, line_height, text_width
from circuitscope.graph.evidence import Marks, Run

SHAPES: Final = {
    Badge.SUPPORTED: Shape.CHECK, Badge.COMPENSATED: Shape.RING,
    Badge.CONTRADICTED: Shape.SALTIRE, Badge.INCONCLUSIVE: Shape.HOLLOW_DIAMOND,
}  # fmt: skip


def badge_color(badge: Badge, theme: Theme) -> str:
    """Return the colour of a badge."""
    colors = {Badge.SUPPORTED: theme.supported, Badge.CONTRADICTED: theme.negative}
    return colors.get(badge, theme.secondary)


def badge_words(run: Run) -> str:
    """Return a badge's tooltip: what was measured against what."""
    tested = run.tested
    words = (
        f"{run.badge}: effect {tested.effect:+.3g}, predicted {tested.predicted:+.3g}, "
        f"95 % of {tested.n} controls within ±{tested.band:.3g}, q {run.q:.2g}, {tested.ablation}"
    )
    return words.replace("-", "−")


def badge_glyphs(
    places: Sequence[tuple[float, float, Run]], size: float, theme: Theme
) -> Glyphs | None:
    """Return the signs of tested things, each on a disc of the page's colour."""
    if not places:
        return None
    signs = [(x, y, SHAPES[run.badge], badge_color(run.badge, theme)) for x, y, run in places]
    every = [(x, y, Shape.DISC, theme.background) for x, y, *_ in places] + signs
    colors = tuple(dict.fromkeys(color for *_, color in every))
    big = [size * (1.5 if shape is Shape.DISC else 0.8) for *_, shape, _ in every]
    return Glyphs(
        np.array([shape for *_, shape, _ in every], np.uint8),
        np.array([x for x, *_ in every], np.float32),
        np.array([y for _, y, *_ in every], np.float32),
        np.array(big, np.float32), np.array([colors.index(c) for *_, c in every], np.uint8),
        colors, theme.background,
        titles=("",) * len(places) + tuple(badge_words(run) for *_, run in places),
    )  # fmt: skip


def badge_legend(
    marks: Marks, n_untested: int, left: float, top: float, style: tuple[Preset, Theme]
) -> tuple[Layer | None, float]:
    """Set the legend of badges in a line below `top`; return it and where it ends."""
    counts = marks.counts()
    if not counts:
        return None, top
    preset, theme = style
    size = preset.small
    x, y = left, top + 2.0 * size
    glyphs: list[tuple[float, float, Shape, str]] = []
    texts = []
    words = [(badge, f"{badge} ({number})") for badge, number in counts.items()]
    words += [(Badge.UNTESTED, f"untested ({n_untested})")] if n_untested else []
    for badge, text in words:
        width = text_width(text, size) + (1.5 * size if badge in SHAPES else 0)
        if x + width > preset.width - preset.margin and x > left:
            x, y = left, y + 1.5 * line_height(size)
        if badge in SHAPES:
            at = y - cap_height(size) / 2
            glyphs.append((x + 0.5 * size, at, SHAPES[badge], badge_color(badge, theme)))
            x += 1.5 * size
        texts.append(Text(x, y, text, size, theme.secondary))
        x += text_width(text, size) + 1.6 * size
    texts.append(Text(left, y + 1.5 * line_height(size), _WHAT, size, theme.secondary))
    signs = Glyphs(
        np.array([shape for *_, shape, _ in glyphs], np.uint8),
        np.array([x for x, *_ in glyphs], np.float32),
        np.array([y for _, y, *_ in glyphs], np.float32),
        np.full(len(glyphs), 0.8 * size, np.float32), np.arange(len(glyphs)).astype(np.uint8),
        tuple(color for *_, color in glyphs), theme.background,
    )  # fmt: skip
    layer = Layer("badges-legend", "Tests on the model", glyphs=signs, texts=tuple(texts))
    return layer, y + 1.5 * line_height(size) + 0.4 * size


_WHAT = (
    "Badges: total effect in the unfrozen model against matched controls, 5 % false discoveries."
)
