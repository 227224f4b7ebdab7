"""How faithful a circuit is as it grows, node by node, and what the model keeps without it.

1. Order the circuit's heads (and MLPs) by the size of what they were found to do.
2. For the strongest k: faithfulness (m(C_k) - m(0)) / (m(M) - m(0)), metrics averaged over the
   prompts, with all other heads replaced; and the same with these k replaced and all others kept.
   Wang et al. 2022 (arXiv 2211.00593) call a circuit complete where little is left without it.
3. `area` is the mean of the first curve over k / n, and `distance` the mean of its distance from
   1, over the circuit's own nodes: the node-level forms of CPR and CMD in the MIB benchmark
   (Mueller et al. 2025), which run over all edges of the model.

All choices of k run as copies of a prompt, side by side.
Nothing is clipped: more than 1, or less than 0, is a finding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import TraceError
from circuitscope.core.finding import Curves
from circuitscope.core.metrics import Metric
from circuitscope.core.progress import Progress, silent
from circuitscope.models.prompts import Written
from circuitscope.models.threads import fitting_threads
from circuitscope.tracing.ablating import (
    Case,
    Choices,
    Unit,
    choices_of,
    mean_activations,
    measure_each,
)
from circuitscope.tracing.discovery import read_cases
from circuitscope.tracing.relevance_circuit import metric_of, units_of
from circuitscope.tracing.splitting import MeansLike

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel


def faithfulness_curve(  # noqa: PLR0913 - options by keyword
    model: LoadedModel,
    circuit: Circuit,
    prompts: Sequence[Written] | None = None,
    ablation: Literal["zero", "mean"] = "mean",
    *,
    metric: Metric | Sequence[Metric] | None = None,
    means: MeansLike = None,
    points: int = 50,
    mlps: bool = False,
    progress: Progress | None = None,
) -> Curves:
    """Measure a circuit's faithfulness against its number of nodes.

    Args:
        model: The model the circuit is of.
        circuit: Its heads (and MLPs) are kept, or taken away, strongest first.
        prompts: None takes the circuit's own prompt, and a remark says so.
        ablation: What the others hold: their mean over the prompts, or 0.
        metric: None takes what the circuit explains.
        means: Means measured elsewhere.
        points: Most numbers of nodes that are measured, spread evenly; 0 and all are among them.
        mlps: Whether MLPs are replaced too.
        progress: Hears of every prompt; may cancel.

    Raises:
        TraceError: The circuit holds no heads, or the metric does not depend on any.
    """
    hear = progress or silent()
    units = _ordered(circuit)
    if not units:
        raise TraceError(
            "The circuit holds no attention heads, so there is nothing to keep.",
            hint="Discover one with discover, or trace with units=neurons.",
        )
    texts: Sequence[Written] = [list(circuit.token_ids)] if prompts is None else prompts
    held = means
    if ablation == "mean" and means is None:
        held = mean_activations(model, texts)
    with fitting_threads(model.anatomy):
        cases = read_cases(model, texts, metric or metric_of(circuit), held, ablation)
        sizes = np.unique(np.linspace(0, len(units), min(points, len(units) + 1)).round())
        found = []
        hear.phase("Faithfulness", len(cases))
        made: dict[int, Choices] = {}
        for case in cases:
            if len(case.ids) not in made:
                made[len(case.ids)] = _choices(case, units, sizes.astype(int).tolist())
            found.append(measure_each(case, made[len(case.ids)], mlps=mlps))
            hear.advance()
        whole, empty, *rest = np.mean(found, axis=0).tolist()
        if abs(whole - empty) < 1e-9 * max(1.0, abs(whole)):
            raise TraceError(
                "The metric is the same with every head replaced; nothing can be faithful to it.",
                hint="Choose another metric or other prompts.",
            )
    scaled = (np.array(rest) - empty) / (whole - empty)
    kept_curve, without = scaled[: len(sizes)], scaled[len(sizes) :]
    share = sizes / len(units)
    record = circuit.provenance
    remarks = record.remarks
    if prompts is None:
        remarks = ("Measured on the prompt that the circuit was found on.", *remarks)
    scores = {
        "area": float(np.trapezoid(kept_curve, share)),
        "distance": float(np.trapezoid(np.abs(1 - kept_curve), share)),
        "whole": whole, "ablated": empty, "n_prompts": float(len(cases)),
    }  # fmt: skip
    told = replace(
        record, remarks=remarks, scores=scores, parent=circuit.digest,
        settings={**record.settings, "ablation": ablation, "mlps": mlps},
    )  # fmt: skip
    curves = {
        "faithfulness": kept_curve.astype(np.float32),
        "without them": without.astype(np.float32),
    }
    return Curves("nodes", sizes.astype(np.float32), curves, told)


def _ordered(circuit: Circuit) -> list[Unit]:
    """Return the units by the size of their strongest edge into a root, else by influence."""
    nodes, edges = circuit.nodes, circuit.edges
    strength = np.abs(nodes.influence.astype(np.float64))
    into = np.isin(edges.target, circuit.roots)
    direct = np.zeros(len(nodes))
    np.maximum.at(direct, edges.source[into], np.abs(edges.weight[into]).astype(np.float64))
    strength = strength if strength.any() else direct
    size: dict[Unit, float] = {}
    for node in range(len(nodes)):
        for unit in units_of(circuit, [node]):
            size[unit] = float(strength[node])
    return sorted(size, key=lambda unit: (-size[unit], unit))


def _choices(case: Case, units: Sequence[Unit], sizes: Sequence[int]) -> Choices:
    """Return all, none, the strongest k of each size, and all but these."""
    steps = choices_of(case, [None, (), *(units[:size] for size in sizes)])
    z, mlp = (torch.cat([kept, ~kept[:, 2:]], 1) for kept in (steps.z, steps.mlp))
    return Choices(z, mlp)
