"""Small plots as SVG: lines, dots against a diagonal and bars; no script, no request.

Series differ by dash and mark as well as by colour, so that they can be told apart in print.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import floor, log10
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

WIDTH, HEIGHT = 520, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 26, 46


@dataclass(frozen=True, slots=True)
class Look:
    """Colours of a plot, "#RRGGBB"."""

    paper: str
    ink: str
    quiet: str
    grid: str
    first: str
    second: str


PAPER: Final = Look("#FFFFFF", "#1F2430", "#667085", "#E4E3DF", "#2B6CB0", "#B7560F")


def line_plot(
    x: ArrayLike,
    curves: Sequence[tuple[str, ArrayLike]],
    names: tuple[str, str],
    look: Look = PAPER,
) -> str:
    """Return up to two curves over a shared axis, with lines at 0 and 1."""
    across = np.asarray(x, float)
    found = [np.asarray(y, float) for _, y in curves]
    low, high = min(0.0, *(y.min() for y in found)), max(1.0, *(y.max() for y in found))
    frame = _Frame((float(across.min()), float(across.max())), (low, high), look)
    parts = [frame.axes(names), frame.level(0.0), frame.level(1.0)]
    for number, ((name, _), y) in enumerate(zip(curves, found, strict=True)):
        colour = (look.first, look.second)[number % 2]
        dash = ("", ' stroke-dasharray="6 4"')[number % 2]
        points = " ".join(f"{frame.x(a):.1f},{frame.y(b):.1f}" for a, b in zip(across, y,
                          strict=True))  # fmt: skip
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'
        )
        left = _LEFT + 8 + 200 * number
        parts.append(
            f'<line x1="{left}" y1="14" x2="{left + 26}" y2="14" stroke="{colour}" '
            f'stroke-width="2"{dash}/>{_text(left + 32, 18, name, look.ink)}'
        )
    return _svg(parts, look, f"{names[1]} against {names[0]}: " + ", ".join(n for n, _ in curves))


def dot_plot(
    points: Sequence[tuple[float, float]], names: tuple[str, str], look: Look = PAPER
) -> str:
    """Return dots with the diagonal on which both are the same."""
    a = np.array(points, float).reshape(-1, 2)
    low, high = min(0.0, float(a.min(initial=0))), max(1.0, float(a.max(initial=1)))
    frame = _Frame((low, high), (low, high), look)
    parts = [
        frame.axes(names),
        f'<line x1="{frame.x(low):.1f}" y1="{frame.y(low):.1f}" x2="{frame.x(high):.1f}" '
        f'y2="{frame.y(high):.1f}" stroke="{look.quiet}" stroke-dasharray="4 4"/>',
    ]
    parts += [
        f'<circle cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="4" fill="none" '
        f'stroke="{look.first}" stroke-width="1.8"/>'
        for x, y in a.tolist()
    ]
    return _svg(parts, look, f"{names[1]} against {names[0]}, {len(a)} dots")


def bar_plot(values: ArrayLike, names: tuple[str, str], look: Look = PAPER) -> str:
    """Return one bar each, in order."""
    heights = np.asarray(values, float)
    high = float(heights.max(initial=0)) or 1.0
    frame = _Frame(
        (0.0, float(len(heights))), (min(0.0, float(heights.min(initial=0))), high), look
    )
    wide = max(1.0, 0.8 * (WIDTH - _LEFT - _RIGHT) / max(1, len(heights)))
    parts = [frame.axes(names)]
    for place, value in enumerate(heights.tolist()):
        top, foot = sorted((frame.y(value), frame.y(0.0)))
        parts.append(
            f'<rect x="{frame.x(place + 0.1):.1f}" y="{top:.1f}" width="{wide:.1f}" '
            f'height="{max(foot - top, 0.6):.1f}" fill="{look.first}"/>'
        )
    return _svg(parts, look, f"{names[1]} of {len(heights)} {names[0]}")


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return round numbers from low to high."""
    if not high > low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** floor(log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * 0.999)
    first = int(np.ceil(low / step - 1e-9))
    return [round(k * step, 10) for k in range(first, int(np.floor(high / step + 1e-9)) + 1)]


class _Frame:
    def __init__(self, x: tuple[float, float], y: tuple[float, float], look: Look) -> None:
        self._x, self._y, self._look = x, y, look

    def x(self, value: float) -> float:
        low, high = self._x
        return _LEFT + (value - low) / ((high - low) or 1.0) * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self._y
        return HEIGHT - _BOTTOM - (value - low) / ((high - low) or 1.0) * (HEIGHT - _TOP - _BOTTOM)

    def level(self, value: float) -> str:
        at = self.y(value)
        return (
            f'<line x1="{_LEFT}" y1="{at:.1f}" x2="{WIDTH - _RIGHT}" y2="{at:.1f}" '
            f'stroke="{self._look.quiet}" stroke-width="1"/>'
        )

    def axes(self, names: tuple[str, str]) -> str:
        look, parts = self._look, []
        for value in ticks(*self._y):
            at = self.y(value)
            parts.append(
                f'<line x1="{_LEFT}" y1="{at:.1f}" x2="{WIDTH - _RIGHT}" y2="{at:.1f}" '
                f'stroke="{look.grid}"/>'
                + _text(_LEFT - 8, at + 4, _number(value), look.quiet, "end")
            )
        for value in ticks(*self._x):
            at = self.x(value)
            parts.append(_text(at, HEIGHT - _BOTTOM + 18, _number(value), look.quiet, "middle"))
        middle = (HEIGHT - _BOTTOM + _TOP) / 2
        parts.append(_text((WIDTH + _LEFT) / 2, HEIGHT - 8, names[0], look.quiet, "middle"))
        parts.append(
            f'<g transform="translate(14 {middle:.0f}) rotate(-90)">'
            + _text(0, 0, names[1], look.quiet, "middle") + "</g>"
        )  # fmt: skip
        return "".join(parts)


def _number(value: float) -> str:
    return f"{value:g}".replace("-", "−")


def _text(x: float, y: float, words: str, colour: str, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}" '
        f'font-size="12" font-family="Inter">{escape(words)}</text>'
    )


def _svg(parts: Sequence[str], look: Look, words: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(words, quote=True)}"><rect width="{WIDTH}" height="{HEIGHT}" '
        f'fill="{look.paper}"/>{"".join(parts)}</svg>'
    )
