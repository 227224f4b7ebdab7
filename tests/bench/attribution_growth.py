"""How attribution graphs grow with tokens and budget, on the work of `attribution_large`.

Each point runs in a process of its own, `python -m tests.bench.attribution_growth TOKENS NODES`,
so that its extra memory is its own. The rate behind the arithmetic limit is measured just before
and just after the rows. The picture goes to build/attribution-growth.svg;
`python -m tests.bench.attribution_growth keep` puts what build/bench.json holds of it, picture and
table, into the manual's page on exactness.
"""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from circuitscope.core.progress import silent
from circuitscope.exchange.vector import svg_text
from circuitscope.tracing.run import open_run
from tests.bench._growth_picture import Point, draw_growth
from tests.bench.attribution_large import (
    Meter,
    computed,
    matmul_rate,
    operations,
    places_of,
    prepared,
)
from tests.bench.trace import random_gpt2_small

SIZES = ((64, 1024), (128, 1024), (256, 1024), (64, 4096), (128, 4096), (256, 4096))
"""Tokens and node budget."""
BUILD = Path("build")
PICTURE, PAGE = "attribution-growth.svg", Path("resources/manual/exactness.md")
_NAME = re.compile(r"attribution, (\d+) tokens, (\d+) nodes: (.+)")
_HEAD = "| tokens, nodes | time | processor time | extra memory | share of the arithmetic limit |"


def measure(n_tokens: int, budget: int) -> list[dict[str, Any]]:
    """Measure one size."""
    torch.set_num_threads(2)
    model = random_gpt2_small()
    found, settings = prepared(model, n_tokens, budget)
    with Meter() as opening:
        run = open_run(model, found, settings, silent())
    rates = [matmul_rate(run, 2048)]
    with Meter() as walking:
        rows = computed(run, budget)
    rates.append(matmul_rate(run, places_of(run, rows)))
    share = operations(run, rows) / float(np.mean(rates)) / walking.seconds
    values = (
        ("all", opening.seconds + walking.seconds, "s"),
        ("all, processor", opening.cpu + walking.cpu, "s"),
        ("extra memory", (opening.extra + walking.extra) / 1e6, "MB"),
        ("arithmetic limit / rows", share, "of 1"),
    )
    name = f"attribution, {n_tokens} tokens, {budget} nodes"
    return [
        {"name": f"{name}: {what}", "value": value, "unit": unit, "baseline": None, "ratio": None}
        for what, value, unit in values
    ]


def points(measured: Sequence[dict[str, Any]]) -> list[Point]:
    """Gather measurements by size, smallest budget first."""
    found: dict[tuple[int, int], dict[str, float]] = {}
    for row in measured:
        if (match := _NAME.fullmatch(row["name"])) is not None:
            size = int(match[1]), int(match[2])
            found.setdefault(size, {})[match[3]] = row["value"]
    whole = {size: values for size, values in found.items() if "arithmetic limit / rows" in values}
    return [
        Point(*size, values["all"], values["all, processor"], values["extra memory"] / 1e3,
              values["arithmetic limit / rows"])
        for size, values in sorted(whole.items(), key=lambda item: item[0][::-1]) if size in SIZES
    ]  # fmt: skip


def table(found: Sequence[Point]) -> str:
    """Return the points as a table of the manual."""
    lines = [_HEAD, "|---|---|---|---|---|"]
    lines += [
        f"| {p.tokens}, {p.nodes} | {p.seconds:.0f} s | {p.cpu:.0f} s | {p.gigabytes:.1f} GB | "
        f"{p.share:.0%} |".replace("%", " %")
        for p in found
    ]
    return "\n".join(lines)


def keep() -> None:
    """Put the picture and the table into the manual."""
    found = points(json.loads((BUILD / "bench.json").read_text("utf-8")))
    assert len(found) == len(SIZES), f"only {len(found)} of {len(SIZES)} sizes were measured"
    (PAGE.parents[1] / "pictures" / PICTURE).write_text(svg_text(draw_growth(found)), "utf-8")
    text, rows = PAGE.read_text("utf-8"), r"(?m)^\| tokens, nodes \|.*(\n\|.*)+"
    assert re.search(rows, text), f"{PAGE} has no table of growth"
    link = f"![Growth with tokens and budget](../pictures/{PICTURE})"
    shown = table(found) if link in text else f"{table(found)}\n\n{link}"
    PAGE.write_text(re.sub(rows, lambda _: shown, text), "utf-8")


def run() -> list[dict[str, Any]]:
    """Measure every size in a process of its own and draw how they grow."""
    rows: list[dict[str, Any]] = []
    for size in SIZES:
        command = [sys.executable, "-m", "tests.bench.attribution_growth", *map(str, size)]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        rows += json.loads(said.splitlines()[-1])
    BUILD.mkdir(exist_ok=True)
    (BUILD / PICTURE).write_text(svg_text(draw_growth(points(rows))), "utf-8")
    return rows


if __name__ == "__main__":
    if sys.argv[1] == "keep":
        keep()
    else:
        sys.stdout.write(json.dumps(measure(*map(int, sys.argv[1:3]))) + "\n")
