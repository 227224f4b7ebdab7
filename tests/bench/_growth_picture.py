"""Draw how attribution graphs grow: time, extra memory and share of the limit, by tokens."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log2

import numpy as np

from circuitscope.exchange.figure import Curves, Figure, Glyphs, Layer, Shape, Text
from circuitscope.exchange.theme import Theme

_THEME = Theme()
_SIZE, _SMALL = 9.0, 8.0
_WIDTH, _HEIGHT, _TOP, _LEFT, _STEP = 128.0, 120.0, 44.0, 42.0, 200.0
_COLORS = (_THEME.positive, _THEME.negative)
_SHAPES = (Shape.DISC, Shape.SQUARE)


@dataclass(frozen=True, slots=True)
class Point:
    """What one size took.

    Attributes:
        tokens: Of the prompt; nodes: the budget.
        seconds: By the clock, all of it; cpu: of the processor.
        gigabytes: Extra memory; share: of the arithmetic limit, of 1.
    """

    tokens: int
    nodes: int
    seconds: float
    cpu: float
    gigabytes: float
    share: float


def draw_growth(points: Sequence[Point]) -> Figure:
    """Draw three panels; each budget is a line with signs of its own."""
    panels: tuple[tuple[str, str, Callable[[Point], float], bool], ...] = (
        ("Time", "s", lambda p: p.seconds, True),
        ("Extra memory", "GB", lambda p: p.gigabytes, True),
        ("Share of the arithmetic limit", "%", lambda p: 100 * p.share, False),
    )
    layers = [
        layer
        for number, (title, unit, value, doubling) in enumerate(panels)
        for layer in _panel(_LEFT + number * _STEP, title, unit, points, value, doubling)
    ]
    return Figure(
        2 * _STEP + _LEFT + _WIDTH + 62, _TOP + _HEIGHT + 38, tuple(layers),
        title="Growth of attribution graphs",
        description="Lines over 64, 128 and 256 tokens for each node budget: seconds, extra "
        "memory and share of the arithmetic limit.",
    )  # fmt: skip


def _panel(
    left: float,
    title: str,
    unit: str,
    points: Sequence[Point],
    value: Callable[[Point], float],
    doubling: bool,
) -> list[Layer]:
    tokens = sorted({p.tokens for p in points})
    marks = _marks([value(p) for p in points]) if doubling else [0.0, 25.0, 50.0, 75.0, 100.0]
    scale = log2 if doubling else float

    def place(tokens_here: float, height: float) -> tuple[float, float]:
        across = log2(tokens_here / tokens[0]) / max(log2(tokens[-1] / tokens[0]), 1e-9)
        up = (scale(height) - scale(marks[0])) / (scale(marks[-1]) - scale(marks[0]))
        return left + 10 + (_WIDTH - 20) * across, _TOP + _HEIGHT * (1 - up)

    heights = [place(tokens[0], mark)[1] for mark in marks]
    texts = [
        Text(left, _TOP - 26, title, _SIZE, _THEME.ink, weight=600),
        Text(left, _TOP - 13, unit, _SMALL, _THEME.secondary),
        Text(left + _WIDTH / 2, _TOP + _HEIGHT + 30, "tokens", _SIZE, _THEME.ink, anchor="middle"),
    ]
    texts += [
        Text(left - 6, y + 3, f"{mark:g}", _SMALL, _THEME.secondary, anchor="end")
        for mark, y in zip(marks, heights, strict=True)
    ]
    texts += [
        Text(place(n, marks[0])[0], _TOP + _HEIGHT + 15, str(n), _SMALL, _THEME.secondary,
             anchor="middle")
        for n in tokens
    ]  # fmt: skip
    rules = [(left, y, left + _WIDTH, y) for y in heights]
    layers = [Layer(f"{title} grid", curves=Curves.lines(rules, _THEME.hairline, 0.6))]
    ends: list[float] = []
    for number, nodes in enumerate(sorted({p.nodes for p in points}, reverse=True)):
        color, shape = _COLORS[number % 2], _SHAPES[number % 2]
        at = [place(p.tokens, value(p)) for p in points if p.nodes == nodes]
        lines = [(*a, *b) for a, b in itertools.pairwise(at)]
        x, y = np.array(at, np.float32).T
        n = len(at)
        signs = Glyphs(
            np.full(n, shape, np.uint8), x, y, np.full(n, 6, np.float32),
            np.zeros(n, np.uint8), (color,),
        )  # fmt: skip
        low = at[-1][1] + 3
        if ends and abs(low - ends[-1]) < 11:
            low = ends[-1] + (11 if low >= ends[-1] else -11)
        ends.append(low)
        words = f"{nodes:,} nodes".replace(",", "\u2009")
        texts.append(Text(left + _WIDTH - 2, low, words, _SMALL, color, weight=600))
        layers.append(Layer(f"{title} {nodes}", curves=Curves.lines(lines, color, 1.4)))
        layers.append(Layer(f"{title} {nodes} signs", glyphs=signs))
    return [*layers, Layer(f"{title} words", texts=tuple(texts))]


def _marks(values: Sequence[float]) -> list[float]:
    """Return round numbers from below the least to above the largest, each twice or so the last."""
    steps = [base * 10.0**power for power in range(-3, 5) for base in (1, 2, 5)]
    low = max(i for i, step in enumerate(steps) if step <= min(values))
    high = min(i for i, step in enumerate(steps) if step >= max(values))
    return steps[low : max(high, low + 1) + 1]
