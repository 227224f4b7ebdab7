"""How time and memory of attribution graphs grow with tokens and budget: points and a picture.

Every point is measured in a process of its own, `python -m tests.bench._growth TOKENS BUDGET`, so
that none inherits another's memory. Points are kept in build/attribution-growth.json as they are
measured; a run that was stopped goes on where it was. Delete the file to measure anew.
"""

import itertools
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from circuitscope.core.shipped import shipped_path
from circuitscope.exchange.figure import Curves, Figure, Layer, Text
from circuitscope.exchange.formats.svg import svg_text
from circuitscope.exchange.theme import Theme

TOKENS, BUDGETS = (64, 128, 256), (1024, 4096)
KEPT = Path("build") / "attribution-growth.json"
PICTURE = "attribution-growth.svg"
Point = Mapping[str, float]


def measured_points() -> list[Point]:
    """Measure the points that are not kept yet, draw the picture and return all points."""
    kept: dict[str, Point] = json.loads(KEPT.read_text("utf-8")) if KEPT.exists() else {}
    for budget, n_tokens in itertools.product(BUDGETS, TOKENS):
        name = f"{n_tokens},{budget}"
        if name in kept:
            continue
        command = [sys.executable, "-m", "tests.bench._growth", str(n_tokens), str(budget)]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        kept[name] = json.loads(said.splitlines()[-1])
        KEPT.parent.mkdir(exist_ok=True)
        KEPT.write_text(json.dumps(kept, indent=1), "utf-8")
    points = list(kept.values())
    picture = svg_text(draw(points))
    (shipped_path("resources", "pictures") / PICTURE).write_text(picture, "utf-8")
    return points


def measure(n_tokens: int, budget: int) -> dict[str, float]:
    """Measure one point: seconds, processor seconds and extra bytes of the whole graph."""
    import torch

    from circuitscope.core.progress import silent
    from circuitscope.tracing.run import open_run
    from tests.bench.attribution_large import Meter, computed, prepared
    from tests.bench.trace import random_gpt2_small

    torch.set_num_threads(2)
    model = random_gpt2_small()
    found, settings = prepared(model, n_tokens, budget)
    with Meter() as meter:
        run = open_run(model, found, settings, silent())
        rows = computed(run, budget)
    return {
        "tokens": n_tokens, "budget": budget, "active": run.features.n_active,
        "rows": len(rows.explained), "seconds": meter.seconds, "processor": meter.cpu,
        "extra": meter.extra,
    }  # fmt: skip


def draw(points: Sequence[Point]) -> Figure:
    """Draw processor seconds and extra memory against tokens, a line for each budget."""
    panels = (
        ("processor seconds", [p["processor"] for p in points]),
        ("extra memory, GB", [p["extra"] / 1e9 for p in points]),
    )
    layers = [
        layer
        for index, (title, values) in enumerate(panels)
        for layer in _panel(46.0 + 232 * index, title, points, values)
    ]
    return Figure(
        470, 190, tuple(layers), title="Growth of attribution graphs",
        description="Processor time and memory against tokens, for 1 024 and 4 096 nodes.",
    )  # fmt: skip


def _panel(
    left: float, title: str, points: Sequence[Point], values: Sequence[float]
) -> tuple[Layer, Layer]:
    theme, top, width, height = Theme(), 26.0, 150.0, 124.0
    most = _round_up(max(values))

    def place(tokens: float, value: float) -> tuple[float, float]:
        return left + width * tokens / max(TOKENS), top + height * (1 - value / most)

    texts = [Text(left, 14, title, 9.0, theme.ink, weight=600)]
    rules, lines = [], []
    for step in range(5):
        y = place(0, most * step / 4)[1]
        rules.append((left, y, left + width, y))
        label = f"{most * step / 4:g}"
        texts.append(Text(left - 6, y + 3, label, 8.0, theme.secondary, anchor="end"))
    for tokens in TOKENS:
        x = place(tokens, 0)[0]
        texts.append(Text(x, top + height + 13, str(tokens), 8.0, theme.secondary, anchor="middle"))
    texts.append(Text(left, top + height + 13, "tokens", 8.0, theme.secondary, anchor="middle"))
    for budget in BUDGETS:
        own = sorted(
            (place(p["tokens"], value), value)
            for p, value in zip(points, values, strict=True)
            if p["budget"] == budget
        )
        lines += [(*a, *b) for (a, _), (b, _) in itertools.pairwise(own)]
        (x, y), _ = own[-1]
        texts.append(Text(x + 4, y + 3, f"{budget:,} nodes", 8.0, theme.ink))
    return (
        Layer(f"{title}-grid", curves=Curves.lines(rules, theme.hairline, 0.6)),
        Layer(title, curves=Curves.lines(lines, theme.positive, 1.6), texts=tuple(texts)),
    )


def _round_up(value: float) -> float:
    """Return the next of 1, 2, 4, 8 times a power of ten."""
    steps = (10.0**power * step for power in range(-3, 6) for step in (1, 2, 4, 8))
    return next(step for step in steps if step >= value)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(int(sys.argv[1]), int(sys.argv[2]))) + "\n")
