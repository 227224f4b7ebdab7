"""Draw the pictures of the Othello report: shares by depth, boards of features, the curve."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from circuitscope.exchange.figure import Box, Curves, Figure, Layer, Text
from circuitscope.exchange.theme import Theme

__all__ = ["draw_boards", "draw_curve", "draw_shares"]

_THEME = Theme()
_SIZE, _SMALL = 9.0, 8.0
KIND_COLORS = {
    "move": "#2E7FB8", "turn": "#0F8A7E", "flipped": "#7CC4BA", "mine": "#B7791F",
    "theirs": "#E2B564", "empty": "#98A2B3", "legal": "#8A5CC2", "player": "#C2477F",
}  # fmt: skip
"""In the order in which the claims name them; told in words in the legend."""
_WORDS = {
    "move": "square just played", "turn": "move that turns one way", "flipped": "square turned",
    "mine": "mine", "theirs": "theirs", "empty": "empty", "legal": "legal move",
    "player": "who moved",
}  # fmt: skip


def draw_shares(shares: Mapping[str, Mapping[str, float]]) -> Figure:
    """Draw, for each dictionary by depth, how many of its features are about what.

    Args:
        shares: By dictionary, the share of alive features by kind of rule.
    """
    left, top, step, width, height = 74.0, 14.0, 21.0, 300.0, 14.0
    boxes, texts = [], []
    for row, (name, parts) in enumerate(shares.items()):
        y = top + row * step
        kind, _, layer = name.rpartition("_")
        words = f"{'attention' if kind == 'attn_out' else 'MLP'} {layer}"
        texts.append(Text(left - 8, y + 10.5, words, _SIZE, _THEME.ink, anchor="end"))
        boxes.append(_bar(left, y, width, height, "#FFFFFF", _THEME.hairline))
        x = left
        for part, color in KIND_COLORS.items():
            wide = width * parts.get(part, 0.0)
            if wide > 0.2:
                boxes.append(_bar(x, y, wide, height, color, "#FFFFFF"))
            x += wide
        texts.append(
            Text(left + width + 6, y + 10.5, f"{sum(parts.values()):.0%}", _SIZE, _THEME.secondary)
        )
    y = top + len(shares) * step + 12
    for index, (part, color) in enumerate(KIND_COLORS.items()):
        x = left + 104 * (index % 3)
        at = y + 15 * (index // 3)
        boxes.append(_bar(x, at, 9, 9, color, color))
        texts.append(Text(x + 13, at + 8, _WORDS[part], _SMALL, _THEME.ink))
    return Figure(
        430, y + 50, (Layer("bars", boxes=tuple(boxes)), Layer("words", texts=tuple(texts))),
        title="What the features of each output are about",
        description="Bars by depth: share of alive features by the kind of their best rule.",
    )  # fmt: skip


def _bar(x: float, y: float, width: float, height: float, fill: str, stroke: str) -> Box:
    return Box(x, y, width, height, fill, stroke, 0.6, 0.0)


def draw_boards(features: Sequence[tuple[str, str, NDArray[np.uint8]]]) -> Figure:
    """Draw the averaged board of several features side by side.

    Args:
        features: Title, line below it, and shares of one kind by square, uint8 [64].
    """
    cell, gap = 11.0, 22.0
    size = 8 * cell
    boxes, texts, lines = [], [], []
    for index, (title, line, board) in enumerate(features):
        x, y = 22 + index * (size + gap), 40.0
        texts += [
            Text(x, 14, title, _SIZE, _THEME.ink, weight=600),
            Text(x, 27, line, _SMALL, _THEME.secondary),
        ]
        for square, share in enumerate(board.tolist()):
            at = x + square % 8 * cell, y + square // 8 * cell
            boxes.append(_bar(*at, cell, cell, _shade(share / 255), _THEME.hairline))
        for k in range(8):
            texts += [
                Text(x + (k + 0.5) * cell, y + size + 9, "ABCDEFGH"[k], 6.5, _THEME.secondary,
                     anchor="middle"),
                Text(x - 3, y + (k + 0.75) * cell, str(k + 1), 6.5, _THEME.secondary,
                     anchor="end"),
            ]  # fmt: skip
        lines.append((x, y, x + size, y))
    layers = (
        Layer("squares", boxes=tuple(boxes)),
        Layer("words", curves=Curves.lines(lines, _THEME.ink, 0.6), texts=tuple(texts)),
    )
    return Figure(
        22 + len(features) * (size + gap), 46 + size + 12, layers,
        title="Boards of features",
        description="Darker squares: more of the feature's activation falls on such positions.",
    )  # fmt: skip


def _shade(share: float) -> str:
    """Mix paper and the positive hue."""
    ends = (_THEME.background, _THEME.positive)
    paper, hue = (np.array([int(c[i : i + 2], 16) for i in (1, 3, 5)]) for c in ends)
    mixed = np.rint(paper + (hue - paper) * min(max(share, 0.0), 1.0)).astype(int)
    return "#" + "".join(f"{part:02X}" for part in mixed)


def draw_curve(curve: Sequence[Mapping[str, float]]) -> Figure:
    """Draw the share of legal moves against the games seen."""
    left, top, width, height, low = 46.0, 12.0, 340.0, 150.0, 0.85
    most = max(point["games"] for point in curve)

    def place(games: float, legal: float) -> tuple[float, float]:
        share = (max(legal, low) - low) / (1 - low)
        return left + width * games / most, top + height * (1 - share)

    points = [place(p["games"], p["legal"]) for p in curve]
    line = [(*a, *b) for a, b in itertools.pairwise(points)]
    texts, rules = [], []
    for legal in (0.85, 0.9, 0.95, 0.98, 0.99, 1.0):
        y = place(0, legal)[1]
        rules.append((left, y, left + width, y))
        texts.append(Text(left - 6, y + 3, f"{legal:.0%}", _SMALL, _THEME.secondary, anchor="end"))
    texts += [
        Text(left + width * share, top + height + 14, f"{most * share / 1000:.0f}", _SMALL,
             _THEME.secondary, anchor="middle")
        for share in (0, 0.25, 0.5, 0.75, 1)
    ]  # fmt: skip
    texts.append(
        Text(left + width / 2, top + height + 28, "thousand games seen", _SIZE, _THEME.ink,
             anchor="middle")
    )  # fmt: skip
    layers = (
        Layer("grid", curves=Curves.lines(rules, _THEME.hairline, 0.6)),
        Layer("curve", curves=Curves.lines(line, _THEME.positive, 1.6), texts=tuple(texts)),
    )
    return Figure(
        400, top + height + 38, layers, title="Likeliest move legal, held-out games",
        description="The share of positions at which the likeliest move is legal rises with "
        "the games seen.",
    )  # fmt: skip
