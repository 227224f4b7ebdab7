"""Trace further: give one more node a row of its own, or explain one more attention score.

Only that row is computed, and the node's entry in the rows that are there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from circuitscope.core.anatomy import Site
from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import CircuitScopeError, TraceError
from circuitscope.core.keys import NodeKey, NodeKind
from circuitscope.core.progress import Progress, silent
from circuitscope.models.threads import fitting_threads
from circuitscope.tracing.attention_score import score_of
from circuitscope.tracing.method import find_method
from circuitscope.tracing.reopen import dictionaries_of, settings_of

if TYPE_CHECKING:
    from circuitscope.core.settings import TraceSettings
    from circuitscope.dictionaries.dictionary import Dictionary
    from circuitscope.models.loading import LoadedModel

_GROWING = (NodeKind.FEATURE, NodeKind.HEAD, NodeKind.NEURON)


class Growing(Protocol):
    """A method that can compute a circuit for a given set of nodes."""

    def rerun(
        self,
        model: LoadedModel,
        dictionaries: Sequence[Dictionary],
        settings: TraceSettings,
        keep: set[tuple[int, ...]],
        known: Circuit,
        progress: Progress,
    ) -> Circuit:
        """Compute a circuit whose nodes with rows are given; those of `known` are not new."""


def grow(
    circuit: Circuit,
    model: LoadedModel,
    node: NodeKey | str | int,
    dictionaries: Sequence[Dictionary] | None = None,
    progress: Progress | None = None,
) -> Circuit:
    """Return a circuit with one more node: one that the budget left out, or without a row yet.

    Args:
        circuit: A circuit traced here; it stays as it is.
        model: The model it was traced in.
        node: Key of a feature, head or neuron that is active on the prompt, or of an attention
            score, which becomes one more root.
        dictionaries: Those of the trace; None opens the folders named in the provenance.
        progress: Hears of every row.

    Returns:
        A new circuit whose provenance names the old one as its parent.

    Raises:
        TraceError: The circuit cannot be run again here, or no such node is active.
    """
    key = _key(circuit, node)
    if key.kind not in (*_GROWING, NodeKind.SCORE):
        raise TraceError(
            f"{key} cannot be traced further: nothing inside the model feeds it.",
            kept="The circuit is unchanged.",
            hint="Choose a feature, head, neuron or attention score.",
        )
    method = find_method(circuit.provenance.method)
    if not hasattr(method, "rerun"):
        raise TraceError(
            f"Circuits of the method {circuit.provenance.method!r} cannot grow.",
            kept="The circuit is unchanged.",
        )
    settings = settings_of(circuit, model)
    if key.kind is NodeKind.SCORE:
        score = score_of(model.anatomy, key)
        settings = replace(settings, targets=tuple(dict.fromkeys((*settings.targets, score))))
    # Nothing may be summed unranked, or the wanted node could be among it.
    whole = replace(settings, max_nodes=None)
    keep = {_numbers(circuit.nodes.key(int(i))) for i in np.flatnonzero(circuit.expanded)}
    used = dictionaries_of(circuit, dictionaries)
    with fitting_threads(model.anatomy):
        grown = cast("Growing", method).rerun(
            model, used, whole, keep | {_numbers(key)}, circuit, progress or silent()
        )
    if grown.nodes.find(key) is None:
        raise TraceError(
            f"{key} is not active on this prompt.",
            kept="The circuit is unchanged.",
            hint="Choose a feature, head or neuron that is active at that position.",
        )
    written = {**grown.provenance.settings, "prompt": circuit.provenance.settings["prompt"]}
    written["max_nodes"] = circuit.provenance.settings.get("max_nodes")
    provenance = replace(grown.provenance, settings=written, parent=circuit.digest)
    return replace(grown, provenance=provenance)


def _key(circuit: Circuit, node: NodeKey | str | int) -> NodeKey:
    if isinstance(node, NodeKey):
        return node
    if isinstance(node, str):
        return NodeKey.parse(node)
    if not 0 <= node < len(circuit.nodes):
        raise CircuitScopeError(f"The circuit has no node {node}.", hint="Choose one of its nodes.")
    return circuit.nodes.key(node)


def _numbers(key: NodeKey) -> tuple[int, ...]:
    return (int(key.kind), int(Site(key.site)), key.layer, key.position, key.unit)
