"""Check edges against the model itself: switch a node off and measure what changes.

Direct effect: run the real module with patterns, norm denominators and gates frozen and every
other writer held at its value, so that only the edge's own module stands between the two nodes;
the change of the target's pre-activation must be minus the edge. It checks the arithmetic.

Total effect: run the plain model with the node switched off, everything recomputed. Here the
circuit only predicts, by its edges over all paths; agreement is evidence for the circuit.

Nothing here uses the tracer's walk: hooks change the module, and the module computes.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import TraceError
from circuitscope.core.keys import NodeKey, NodeKind
from circuitscope.core.progress import Progress, silent
from circuitscope.graph.influence import is_flow, is_relevance, stages
from circuitscope.models.capture import capture
from circuitscope.models.reading import as_traced
from circuitscope.models.threads import fitting_threads
from circuitscope.tracing.attention_score import SHARE
from circuitscope.tracing.first_hop import predict_live
from circuitscope.tracing.measurement import Switches, direct_effects, total_effects
from circuitscope.tracing.plan import make_plan
from circuitscope.tracing.reopen import dictionaries_of, settings_of

if TYPE_CHECKING:
    from circuitscope.dictionaries.dictionary import Dictionary
    from circuitscope.models.loading import LoadedModel

STRONGEST = 20
_MOST_DOUBLED = 100_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Verification:
    """Predicted and measured effects, one entry of every array each.

    Attributes:
        edges: Edge index, int64 [k]; -1 for total effects.
        sources: The node switched off, int64 [k]; targets: the node watched, int64 [k].
        predicted: Change of the target's pre-activation by the circuit, float64 [k].
        measured: The same, measured in the model, float64 [k].
        effect: "direct" or "total".
        mode: How nodes were switched off.
    """

    edges: NDArray[np.int64]
    sources: NDArray[np.int64]
    targets: NDArray[np.int64]
    predicted: NDArray[np.float64]
    measured: NDArray[np.float64]
    effect: str
    mode: str

    @property
    def worst(self) -> float:
        """Return the largest |measured - predicted| / |predicted|; 0 where nothing was measured."""
        if not len(self.predicted):
            return 0.0
        size = np.maximum(np.abs(self.predicted), 1e-30)
        return float((np.abs(self.measured - self.predicted) / size).max())


@torch.no_grad()
def verify(  # noqa: PLR0913 - options by keyword
    model: LoadedModel,
    circuit: Circuit,
    nodes: Sequence[int | NodeKey | str] | None = None,
    edges: Sequence[int] | None = None,
    mode: str = "zero",
    effect: Literal["direct", "total"] = "direct",
    *,
    predict: Literal["circuit", "live"] = "circuit",
    dictionaries: Sequence[Dictionary] | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Switch nodes off in the model and compare with what the circuit predicts.

    Args:
        model: The model the circuit was traced in.
        circuit: A circuit traced here.
        nodes: Nodes to switch off; None with no edges given: the 20 with the strongest edges into
            a root.
        edges: Only these edges; their sources are switched off. Direct effects only.
        mode: "zero".
        effect: "direct" measures every edge that leaves a chosen node; "total" every pair of a
            chosen node and a root.
        predict: Of total effects, "circuit" predicts by its edges over all paths, all gates
            frozen; "live" lets go of them (`tracing.first_hop`), and ranks nodes better.
        dictionaries: Those of the trace; None opens the folders named in the provenance.
        progress: Hears of every run of the model.

    Raises:
        TraceError: The circuit cannot be run again here, or a node cannot be switched off.
    """
    if mode != "zero":
        raise TraceError(f"Nodes cannot be switched off by {mode!r}.", hint='Use mode="zero".')
    if effect not in ("direct", "total"):
        raise TraceError(f"There is no effect {effect!r}.", hint="Effects are direct and total.")
    if predict not in ("circuit", "live") or (predict == "live" and effect == "direct"):
        raise TraceError(
            f"A {effect} effect is not predicted by {predict!r}.",
            hint='Total effects are predicted by "circuit" or "live", direct ones by "circuit".',
        )
    if is_flow(circuit) or is_relevance(circuit):
        raise TraceError(
            "The circuit's edges are no contributions, so they predict no effects of nodes.",
            kept="The circuit is unchanged.",
            hint="Test its nodes with cs.badges, or measure the circuit.",
        )
    model = as_traced(model)
    settings = settings_of(circuit, model)
    plan = make_plan(model.anatomy, dictionaries_of(circuit, dictionaries), settings)
    cache = capture(model, circuit.token_ids)
    chosen = _chosen(circuit, nodes, edges)
    _check_switchable(circuit, chosen, effect)
    hear = progress or silent()
    if effect == "total":
        switches = Switches(model, circuit, plan, cache, settings)
        with fitting_threads(model.anatomy):
            return _total(switches, circuit, chosen, hear, live=predict == "live")
    switches = Switches(_in_double(model), circuit, plan, cache, settings)
    wanted = np.flatnonzero(np.isin(circuit.edges.source, chosen))
    if edges is not None:
        wanted = np.intersect1d(wanted, np.asarray(edges, np.int64))
    source = circuit.edges.source[wanted].astype(np.int64)
    target = circuit.edges.target[wanted].astype(np.int64)
    with fitting_threads(model.anatomy):
        measured = direct_effects(switches, source, target, hear)
    predicted = -circuit.edges.weight[wanted].astype(np.float64)
    return Verification(wanted, source, target, predicted, measured, "direct", mode)


def _in_double(model: LoadedModel) -> LoadedModel:
    """Return a copy of the model in float64, or the model itself where a copy is too large.

    A direct effect is a small difference of large numbers; in float32 weak edges drown in rounding.
    """
    size = sum(parameter.numel() for parameter in model.module.parameters())
    if model.dtype == torch.float64 or size > _MOST_DOUBLED:
        return model
    double = copy.deepcopy(model.module).double()
    return replace(model, module=double, dtype=torch.float64, upcasts=False)


def _chosen(
    circuit: Circuit,
    nodes: Sequence[int | NodeKey | str] | None,
    edges: Sequence[int] | None,
) -> NDArray[np.int64]:
    if nodes is not None:
        chosen = np.unique([find_node(circuit, node) for node in nodes]).astype(np.int64)
    elif edges is not None:
        chosen = np.unique(circuit.edges.source[list(edges)]).astype(np.int64)
    else:
        chosen = strongest_into_roots(circuit)
    return chosen


def _check_switchable(circuit: Circuit, chosen: NDArray[np.int64], effect: str) -> None:
    """Refuse logits and scores, and constants where everything is to be recomputed."""
    fixed = [NodeKind.LOGIT, NodeKind.SCORE] + ([] if effect == "direct" else [NodeKind.BIAS])
    stuck = chosen[circuit.nodes.of_kind(*fixed)[chosen]]
    if len(stuck):
        also = " or biases" if effect == "direct" else ""
        raise TraceError(
            f"{circuit.nodes.key(int(stuck[0]))} cannot be switched off"
            + ("." if effect == "direct" else " with everything recomputed."),
            hint=f"Choose tokens, features, heads, neurons, errors{also}.",
        )


def find_node(circuit: Circuit, node: int | NodeKey | str) -> int:
    """Return a node's index by its index, key or text.

    Raises:
        TraceError: The circuit has no such node.
    """
    index = int(node) if isinstance(node, (int, np.integer)) else circuit.nodes.find(node)
    if index is None or not 0 <= index < len(circuit.nodes):
        raise TraceError(f"The circuit has no node {node}.", hint="Choose one of its nodes.")
    return index


def strongest_into_roots(circuit: Circuit, most: int = STRONGEST) -> NDArray[np.int64]:
    """Return the nodes with the strongest edges into a root, biases left out, ascending."""
    edges = circuit.edges
    seen = np.isin(edges.target, circuit.roots)
    seen &= ~circuit.nodes.of_kind(NodeKind.BIAS)[edges.source]
    strength = np.zeros(len(circuit.nodes))
    np.maximum.at(strength, edges.source[seen], np.abs(edges.weight[seen]))
    order = np.argsort(-strength, kind="stable")[:most]
    return np.sort(order[strength[order] > 0])


def _total(
    switches: Switches,
    circuit: Circuit,
    chosen: NDArray[np.int64],
    progress: Progress,
    *,
    live: bool,
) -> Verification:
    roots = circuit.roots.astype(np.int64)
    measured = total_effects(switches, chosen, roots, progress)
    if live:
        columns = [predict_live(switches, chosen, int(root), progress) for root in roots]
        predicted = np.stack(columns, axis=1)
    else:
        predicted = predict_total(circuit, chosen)
    source, target = np.repeat(chosen, len(roots)), np.tile(roots, len(chosen))
    none = np.full(len(source), -1, np.int64)
    return Verification(
        none, source, target, predicted.reshape(-1), measured.reshape(-1), "total", "zero"
    )


def predict_total(
    circuit: Circuit, chosen: NDArray[np.int64], *, absorbing: bool = False
) -> NDArray[np.float64]:
    """Return how the circuit predicts the roots to change when nodes are zeroed, [node, root].

    A node whose pre-activation falls by a share of itself writes that share less: active units
    are linear in their pre-activation while they stay active and gates stay as they are.

    Args:
        circuit: The circuit.
        chosen: The nodes.
        absorbing: True where all are zeroed together: no path then passes through another of them.
    """
    edges, stage = circuit.edges, stages(circuit.nodes)
    own = np.where(circuit.preactivation == 0, np.inf, circuit.preactivation.astype(np.float64))
    if absorbing:
        own[chosen] = np.inf
    gain = np.zeros((len(circuit.nodes), len(circuit.roots)))
    # An edge into a score is half of its pairs; taking one side away takes the whole of them.
    is_score = circuit.nodes.of_kind(NodeKind.SCORE)[circuit.roots]
    gain[circuit.roots, np.arange(len(circuit.roots))] = np.where(is_score, 1 / SHARE, 1.0)
    lost = np.zeros_like(gain)
    # gain: how far each root moves per unit of a node's pre-activation. Targets come first.
    for number in np.unique(stage)[::-1]:
        nodes = np.flatnonzero(stage == number)
        span = np.isin(edges.source, nodes)
        carried = edges.weight[span, None].astype(np.float64) * gain[edges.target[span]]
        np.add.at(lost, edges.source[span], carried)
        gain[nodes] += lost[nodes] / own[nodes, None]
    predicted: NDArray[np.float64] = -lost[chosen]
    return predicted
