"""Keep some edges of a circuit between heads, MLPs and words, and run with all others replaced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import TraceError
from circuitscope.core.keys import NodeKey, NodeKind
from circuitscope.core.metrics import Metric
from circuitscope.models.drafting import draft
from circuitscope.models.prompts import Written
from circuitscope.tracing.edge_scores import Instead, Task, open_task
from circuitscope.tracing.node_bench import Choices
from circuitscope.tracing.parts import INPUT, PartList, parts_of

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel

_INSTEAD: dict[str, Instead] = {
    "auto": "counterfactual", "resample": "counterfactual", "mean": "mean", "zero": "zero",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Place:
    reader: int
    writer: int
    position: int


class EdgeBench:
    """Run prompts with some edges of the model intact.

    Attributes:
        places: Every edge of the model: the circuit's, the strongest first, then the others.
        n_own: How many are the circuit's.

    Args:
        model: The model the circuit is of.
        circuit: A circuit of heads, MLPs and tokens, at all positions.
        ablation: What other edges carry: "auto" or "resample", "mean", "zero".
    """

    def __init__(self, model: LoadedModel, circuit: Circuit, ablation: str) -> None:
        self._model, self._instead = model, _INSTEAD[ablation]
        self._parts = parts_of(draft(model))
        self.n_pos = len(circuit.token_ids)
        strength: dict[_Place, float] = {}
        for edge in range(len(circuit.edges)):
            ends = int(circuit.edges.source[edge]), int(circuit.edges.target[edge])
            place = _place(self._parts, *(circuit.nodes.key(end) for end in ends))
            if place is not None:
                weight = abs(float(circuit.edges.weight[edge]))
                strength[place] = max(strength.get(place, 0.0), weight)
        if not any(place.writer == INPUT for place in strength):
            raise TraceError(
                "The circuit has no edges from words to heads and MLPs, so its edges alone cannot "
                "carry an answer.",
                hint="Measure its nodes (level node), or trace with eap, eap_ig or path_patching.",
            )
        own = sorted(strength, key=lambda place: -strength[place])
        held = set(own)
        rest = [place for place in self._all() if place not in held]
        self.places, self.n_own = own + rest, len(own)

    def _all(self) -> list[_Place]:
        edges = np.argwhere(self._parts.edges().numpy()).tolist()
        found = [_Place(reader, writer, -1) for reader, writer in edges if writer != INPUT]
        words = range(self.n_pos)
        found += [_Place(r, w, at) for r, w in edges if w == INPUT for at in words]
        return found

    def open(self, prompt: Written, corrupted: Written | None, metric: Metric) -> Task:
        """Make a prompt ready.

        Raises:
            TraceError: It has another number of tokens than the circuit's prompt.
        """
        task = open_task(self._model, prompt, metric, corrupted, self._instead)
        if len(task.ids) != self.n_pos:
            raise TraceError(
                f"A prompt has {len(task.ids)} tokens, the circuit's has {self.n_pos}, and its "
                "words stand at positions.",
                kept="Nothing has been changed.",
                hint="Choose prompts of as many tokens.",
            )
        return task

    def values(self, task: Task, choices: Choices) -> list[float]:
        """Return the metric for each choice of edges, bool [choice, edge]."""
        readers, writers, positions = (
            np.array([getattr(place, name) for place in self.places])
            for name in ("reader", "writer", "position")
        )
        shape = self._parts.n_readers, self._parts.n_writers, self.n_pos
        everywhere = positions < 0

        def masks() -> list[Tensor]:
            found = []
            for choice in choices:
                keep: NDArray[np.float32] = np.zeros(shape, np.float32)
                on = choice & everywhere
                keep[readers[on], writers[on]] = 1
                at = choice & ~everywhere
                keep[readers[at], writers[at], positions[at]] = 1
                found.append(torch.from_numpy(keep).to(task.own))
            return found

        return task.values(masks())


def _place(parts: PartList, source: NodeKey, target: NodeKey) -> _Place | None:
    if target.kind is NodeKind.LOGIT:
        reader = parts.logits
    else:
        found = _writer(parts, target)
        if found is None:
            return None
        reader = found - 1
    if source.kind is NodeKind.TOKEN:
        return _Place(reader, INPUT, source.position)
    writer = _writer(parts, source)
    return None if writer is None else _Place(reader, writer, -1)


def _writer(parts: PartList, key: NodeKey) -> int | None:
    if key.position >= 0:
        return None
    if key.kind is NodeKind.HEAD:
        return parts.writer(key.layer, key.unit)
    if key.kind is NodeKind.NEURON and key.site is Site.MLP_OUT and key.unit == -1:
        return parts.writer(key.layer, -1)
    return None
