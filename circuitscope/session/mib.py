"""The MIB benchmark's circuit protocol: asked of the engine, written as JSON and as a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from circuitscope.core.prompt_pairs import PromptPair
from circuitscope.engine.evidence import BenchMib, MibResults
from circuitscope.exchange.saving import save_bytes
from circuitscope.session.jobs import Job
from circuitscope.session.session import Session

if TYPE_CHECKING:
    from circuitscope.tracing.mib import MibResult

METHODS = ("eap", "eap_ig", "random")
SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Those of `tracing.mib`, which imports torch."""


def start_bench(
    session: Session,
    train: Sequence[PromptPair],
    test: Sequence[PromptPair] = (),
    methods: Sequence[str] = METHODS,
    seed: int = 0,
) -> Job:
    """Run the protocol on the session's model; the job's result is `MibResults`.

    Args:
        session: Whose model.
        train: Pairs that edges are scored on.
        test: Pairs measured on; none takes those of `train`.
        methods: "eap", "eap_ig" and "random".
        seed: Seeds chance.

    Raises:
        CircuitScopeError: No model is there.
    """
    request = BenchMib(session.model_choice, tuple(train), tuple(test), tuple(methods), seed)
    return session.jobs.add("MIB circuit benchmark", request)


def as_json(found: MibResults) -> dict[str, Any]:
    """Return everything that was measured as JSON values."""
    return {"proportions": SHARES, "methods": [asdict(one) for one in found.methods]}


def table(found: MibResults) -> str:
    """Return the results as a table in Markdown, with what they were measured on."""
    head = "| Method | CPR | CMD |" + "".join(f" f at {share:g} |" for share in SHARES)
    lines = [head, "|---|---|---|" + "---|" * len(SHARES)]
    for one in found.methods:
        values = "".join(f" {value:.3f} |" for value in one.by_score)
        lines.append(f"| {one.method} | {one.cpr:.3f} | {one.cmd:.3f} |{values}")
    lines += ["", *(_remarks(found.methods[0]) if found.methods else ())]
    return "\n".join(lines) + "\n"


def _remarks(one: MibResult) -> list[str]:
    return [
        f"{one.n_edges} edges; scored on {one.n_train} pairs, measured on {one.n_test}. The metric "
        f"is {one.whole:.4f} in the model and {one.empty:.4f} with every edge replaced.",
        "CPR is the area under f with edges ranked by score, higher is better; CMD that under "
        "|1 - f| with edges ranked by its size, lower is better.",
    ]


def save_bench(found: MibResults, path: Path | str) -> tuple[Path, Path]:
    """Write a JSON file and a table beside it; return both paths.

    Raises:
        ExchangeError: A file cannot be written.
    """
    data, words = Path(path).with_suffix(".json"), Path(path).with_suffix(".md")
    save_bytes(data, (json.dumps(as_json(found), indent=1) + "\n").encode())
    save_bytes(words, table(found).encode())
    return data, words
