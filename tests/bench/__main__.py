"""Run the benchmarks: `python -m tests.bench [ONLY]`, where ONLY is group names with commas.

Each module beside this one is a group; its `run()` returns measurements, each a name, a value, a
unit, the baseline measured in the same run and value / baseline. All are written to
build/bench.json and printed as a table.
"""

import importlib
import json
import os
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
FOLLOWED_BY = {"attribution-large": "attribution-growth"}
"""Groups of many minutes, which run after another that is asked for by name, or by their own."""


def main() -> int:
    """Run the chosen groups and write what they measured."""
    stems = (path.stem for path in HERE.glob("*.py") if not path.stem.startswith("_"))
    groups = sorted(stem.replace("_", "-") for stem in stems)
    asked = (sys.argv[1] if len(sys.argv) > 1 else os.environ.get("ONLY", "")).split(",")
    named = [name for name in asked if name]
    followed = [name for n in named for name in (n, FOLLOWED_BY.get(n)) if name]
    quick = [name for name in groups if name not in FOLLOWED_BY.values()]
    chosen = list(dict.fromkeys(followed)) or quick
    unknown = [name for name in chosen if name not in groups]
    console = Console()
    if unknown:
        console.print(f"There is no group {', '.join(unknown)}. Groups: {', '.join(groups)}.")
        return 2
    measured = []
    for name in chosen:
        console.print(f"[dim]{name} …[/dim]")
        measured += importlib.import_module(f"tests.bench.{name.replace('-', '_')}").run()
    target = Path("build") / "bench.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(measured, indent=1), "utf-8")
    table = Table("name", "value", "unit", "baseline", "ratio")
    for row in measured:
        cells = (row["value"], row["unit"], row["baseline"], row["ratio"])
        table.add_row(row["name"], *(_shown(cell) for cell in cells))
    console.print(table)
    console.print(f"Written to {target}.")
    return 0


def _shown(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
