"""How faithful a circuit is as it grows, node by node, and what the model keeps without it.

1. Order the circuit's heads (and MLPs) by the size of what they were found to do.
2. For the strongest k: faithfulness (m(C_k) - m(0)) / (m(M) - m(0)), metrics averaged over the
   prompts, with all other heads replaced; and the same with these k replaced and all others kept.
   Wang et al. 2022 (arXiv 2211.00593) call a circuit complete where little is left without it.
3. `area` is the mean of the first curve over k / n, and `distance` the mean of its distance from
   1, over the circuit's own nodes: the node-level forms of CPR and CMD in the MIB benchmark
   (Mueller et al. 2025), which run over all edges of the model.

Nothing is clipped: more than 1, or less than 0, is a finding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import TraceError
from circuitscope.core.finding import Curves
from circuitscope.core.metrics import Metric
from circuitscope.core.progress import Progress, silent
from circuitscope.models.prompts import Written
from circuitscope.models.threads import fitting_threads
from circuitscope.tracing.ablating import Unit, mean_activations, measure
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
        progress: Hears of every point; may cancel.

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
        hear.phase("Faithfulness", len(sizes))

        def mean(kept: Sequence[Unit] | None) -> float:
            found = []
            for case in cases:
                found.append(measure(case, kept, mlps=mlps))
                hear.advance(0)
            return float(np.mean(found))

        whole, empty = mean(None), mean(())
        if abs(whole - empty) < 1e-9 * max(1.0, abs(whole)):
            raise TraceError(
                "The metric is the same with every head replaced; nothing can be faithful to it.",
                hint="Choose another metric or other prompts.",
            )
        every = [_all_units(model, len(case.ids), units, mlps=mlps) for case in cases]
        with_them, without = [], []
        for size in sizes.astype(int).tolist():
            chosen = set(units[:size])
            with_them.append((mean(units[:size]) - empty) / (whole - empty))
            left = [
                measure(case, [one for one in all_of if one not in chosen], mlps=mlps)
                for case, all_of in zip(cases, every, strict=True)
            ]
            without.append((float(np.mean(left)) - empty) / (whole - empty))
            hear.advance()
    kept_curve = np.array(with_them)
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
        "without them": np.array(without, np.float32),
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


def _all_units(model: LoadedModel, n: int, units: Sequence[Unit], *, mlps: bool) -> list[Unit]:
    """Return every head (and MLP) of the model, by position where the circuit's are."""
    positions = range(n) if any(unit.position >= 0 for unit in units) else (-1,)
    heads = range(-1 if mlps else 0, model.anatomy.n_heads)
    layers = range(model.anatomy.n_layers)
    return [Unit(layer, at, head) for layer in layers for at in positions for head in heads]
