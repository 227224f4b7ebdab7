"""Keep some nodes of a circuit, replace all others of their kinds, and run the real module.

What is replaced where a node is not kept:

    feature      its activation is 0, or that of the other run; every feature of the dictionary
    error        0, or the other run's
    head, MLP    what it holds in the other run, or on average, or 0
    neuron       likewise

Kinds that the circuit has no node of stay as they are, and so do embedding and first position.
Features are encoded anew in each changed run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from circuitscope.core.settings import Direction
from circuitscope.dictionaries.dictionary import ActiveFeatures, Dictionary
from circuitscope.models.capture import ForwardCache, capture
from circuitscope.models.drafting import draft
from circuitscope.models.hooks import Hooks
from circuitscope.models.places import Change, Place, read_rows
from circuitscope.models.prompts import Written, read_prompt
from circuitscope.models.rerun import OUTPUT, Stream, open_stream, rerun
from circuitscope.tracing.metrics import Meter, read_metric
from circuitscope.tracing.plan import make_plan
from circuitscope.tracing.reopen import dictionaries_of, settings_of

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel

Choices = NDArray[np.bool_]
"""Which nodes are kept, bool [choice, node]; the last column stands for all not in the circuit."""
_KINDS = (NodeKind.FEATURE, NodeKind.ERROR, NodeKind.HEAD, NodeKind.NEURON)


@dataclass(frozen=True, slots=True, eq=False)
class _Prompt:
    stream: Stream
    other: ForwardCache | None
    meter: Meter
    mean: bool


def refuse_direction(metric: Metric, what: str) -> None:
    """Refuse a metric that is no logit.

    Args:
        metric: What is asked for.
        what: Is measured: "Nodes".

    Raises:
        TraceError: It is a direction.
    """
    if isinstance(metric, Direction):
        raise TraceError(
            f"{what} are measured by logits or probabilities, not along a direction.",
            hint="Give the metric as a logit or a logit difference.",
        )


def check_lengths(prompts: Sequence[Sequence[int] | None], n_pos: int) -> None:
    """Refuse prompts that the positions of a circuit's nodes do not fit.

    Raises:
        TraceError: One has another number of tokens than the circuit's prompt.
    """
    for ids in prompts:
        if ids is not None and len(ids) != n_pos:
            raise TraceError(
                f"A prompt has {len(ids)} tokens, the circuit's has {n_pos}, and its nodes stand "
                "at positions.",
                kept="Nothing has been changed.",
                hint="Choose prompts of as many tokens.",
            )


class NodeBench:
    """Run a circuit's prompt, or others of as many tokens, with some of its nodes intact.

    Args:
        model: The model the circuit is of.
        circuit: Its nodes that can be replaced become `keys`.
        ablation: "auto" sets features and errors to 0 and replaces the rest by the corrupted
            prompt's values, else the mean; "zero", "mean", "resample" for all.
        dictionaries: Those of the trace.
    """

    def __init__(
        self,
        model: LoadedModel,
        circuit: Circuit,
        ablation: str,
        dictionaries: Sequence[Dictionary] | None = None,
    ) -> None:
        self._model, self._ablation = model, ablation
        self.n_pos = len(circuit.token_ids)
        nodes = circuit.nodes
        able = np.flatnonzero(nodes.of_kind(*_KINDS) & (nodes.position != 0)).tolist()
        self.nodes: list[int] = able
        self.keys = [nodes.key(node) for node in able]
        if not self.keys:
            raise TraceError(
                "The circuit holds no features, heads, neurons or MLPs, so there is nothing to "
                "keep.",
                hint="Trace with other units, or measure its edges.",
            )
        self._dictionaries = self._find_dictionaries(circuit, dictionaries)
        self._columns: dict[tuple[Place, str], list[int]] = {}
        for column, key in enumerate(self.keys):
            self._columns.setdefault(_site(key), []).append(column)

    def _find_dictionaries(
        self, circuit: Circuit, given: Sequence[Dictionary] | None
    ) -> dict[Place, Dictionary]:
        if not any(key.kind in (NodeKind.FEATURE, NodeKind.ERROR) for key in self.keys):
            return {}
        settings = settings_of(circuit, self._model)
        plan = make_plan(self._model.anatomy, dictionaries_of(circuit, given), settings)
        found: dict[Place, Dictionary] = {}
        for one in plan.dictionaries:
            if len(one.written_layers) > 1:
                raise TraceError(
                    f"{one.card.name} writes to several layers, whose features cannot be kept one "
                    "by one yet.",
                    hint="Measure a circuit of transcoders or autoencoders.",
                )
            found[one.card.feature_site, one.card.layers[0]] = one
        return found

    def open(self, prompt: Written, corrupted: Written | None, metric: Metric) -> _Prompt:
        """Make a prompt ready.

        Raises:
            TraceError: It, or its partner, has another number of tokens than the circuit's.
        """
        refuse_direction(metric, "Nodes")
        ids = read_prompt(self._model, prompt).token_ids
        bad = None if corrupted is None else read_prompt(self._model, corrupted).token_ids
        if self._has_positions():
            check_lengths((ids, bad), self.n_pos)
        blueprint = draft(self._model)
        meter = read_metric(self._model, blueprint, metric, len(ids))
        stream = open_stream(self._model, ids)
        if self._ablation == "zero":
            return _Prompt(stream, None, meter, mean=False)
        if bad is None or self._ablation == "mean":
            return _Prompt(stream, stream.cache, meter, mean=True)
        return _Prompt(stream, capture(self._model, bad), meter, mean=False)

    def _has_positions(self) -> bool:
        return any(key.position >= 0 for key in self.keys)

    def values(self, prompt: _Prompt, choices: Choices) -> list[float]:
        """Return the metric of a prompt for each choice."""
        found: list[float] = []
        step = max(1, min(prompt.stream.most_copies, 64))
        for start in range(0, len(choices), step):
            part = choices[start : start + step]
            changes, prepare = self._changes(prompt, part)
            logits = rerun(prompt.stream, changes, (OUTPUT,), len(part), prepare)[OUTPUT]
            at, tokens = prompt.meter.position, prompt.meter.tokens
            rows = logits[:, at] if logits.ndim == 3 else logits  # a classifier has one answer
            rows = rows if tokens is None else rows[:, tokens]
            found += prompt.meter.value(rows.double()).tolist()
        return found

    def _changes(
        self, prompt: _Prompt, choices: Choices
    ) -> tuple[dict[Place, Change], Callable[[Hooks], None]]:
        changes: dict[Place, Change] = {}
        looks: list[Place] = []
        seen: dict[Place, Tensor] = {}
        for place, dictionary in self._dictionaries.items():
            read = dictionary.card.read_site, place[1]
            if dictionary.card.read_site is not place[0].writes:
                looks.append(read)
            keep = self._feature_mask(place, dictionary.card.n_features, choices, prompt)
            writes = (place[0].writes, place[1])
            changes[writes] = self._feature_change(prompt, dictionary, keep, read, seen)
        for place, what in self._columns:
            if what == "feature" or place in changes:
                continue
            for layer in range(self._model.anatomy.n_layers):
                at = place[0], layer
                if at not in changes:
                    changes[at] = self._part_change(prompt, at, choices)

        def prepare(hooks: Hooks) -> None:
            for place in looks:
                read_rows(self._model, hooks, place, _keeper(seen, place))

        return changes, prepare

    def _feature_mask(
        self, place: Place, n_features: int, choices: Choices, prompt: _Prompt
    ) -> tuple[Tensor, Tensor]:
        """Return kept features, bool [choice, pos, feature], and kept errors [choice, pos]."""
        n = prompt.stream.cache.n_pos
        features = np.repeat(choices[:, -1:], n * n_features, 1).reshape(-1, n, n_features)
        errors = np.repeat(choices[:, -1:], n, 1)
        for column in self._columns.get((place, "feature"), ()):
            key = self.keys[column]
            if key.kind is NodeKind.ERROR:
                errors[:, key.position] = choices[:, column]
            else:
                features[:, key.position, key.unit] = choices[:, column]
        features[:, 0] = errors[:, 0] = True
        return torch.from_numpy(features), torch.from_numpy(errors)

    def _feature_change(
        self,
        prompt: _Prompt,
        dictionary: Dictionary,
        keep: tuple[Tensor, Tensor],
        read: Place,
        seen: dict[Place, Tensor],
    ) -> Change:
        instead = None if self._ablation == "auto" else prompt.other

        def change(rows: Tensor) -> None:
            copies, n = rows.shape[:2]
            kept, errors = (one.flatten(0, 1).to(rows.device) for one in keep)
            flat = rows.flatten(0, 1).float()
            x = seen[read].flatten(0, 1).float() if read in seen else flat
            found = dictionary.encode(x)
            gap = flat - dictionary.decode(found, len(flat), x)
            own = kept[found.position, found.unit]
            new = dictionary.decode(_some(found, own), len(flat), x)
            gap_other = torch.zeros_like(gap)
            if instead is not None:
                swapped, gap_other = self._other_features(dictionary, instead, prompt, copies)
                lost = ~kept[swapped.position, swapped.unit]
                none = lost & False
                new += dictionary.decode(_some(swapped, lost), len(flat), x)
                new -= dictionary.decode(_some(swapped, none), len(flat), x)
            new += torch.where(errors[:, None], gap, gap_other)
            rows.copy_(torch.unflatten(new, 0, (copies, n)).to(rows))

        return change

    def _other_features(
        self, dictionary: Dictionary, other: ForwardCache, prompt: _Prompt, copies: int
    ) -> tuple[ActiveFeatures, Tensor]:
        """Return the other run's features and errors, once for each copy."""
        place = dictionary.card.feature_site.writes, dictionary.card.layers[0]
        x = other.site(dictionary.card.read_site, place[1]).float()
        held = other.site(*place).float()
        if prompt.mean:
            x, held = (one[1:].mean(0, keepdim=True).expand_as(one) for one in (x, held))
        found, n = dictionary.encode(x), len(x)
        gap = held - dictionary.decode(found, n, x)
        at = torch.cat([found.position + n * copy for copy in range(copies)])
        again = [one.repeat(copies) for one in (found.unit, found.value, found.preactivation)]
        return ActiveFeatures(at, *again), gap.repeat(copies, 1)

    def _part_change(self, prompt: _Prompt, place: Place, choices: Choices) -> Change:
        """Return the change of heads, MLPs or neurons of a layer that are not kept."""
        site, layer = place
        n = prompt.stream.cache.n_pos
        held = None if prompt.other is None else prompt.other.site(site, layer)
        shape = prompt.stream.cache.site(site, layer).shape
        if held is not None and prompt.mean:
            held = held[1:].mean(0, keepdim=True).expand(shape)
        width = 1 if site is Site.MLP_OUT else shape[1]
        keep = np.repeat(choices[:, -1:], n * width, 1).reshape(-1, n, width)
        for column in self._columns.get((place, "part"), ()):
            key = self.keys[column]
            at = slice(None) if key.position < 0 else key.position
            keep[:, at, max(key.unit, 0)] = choices[:, column, None] if (
                isinstance(at, slice)) else choices[:, column]  # fmt: skip
        keep[:, 0] = True
        mask = torch.from_numpy(keep)

        def change(rows: Tensor) -> None:
            kept = mask.to(rows.device)
            kept = kept[..., None] if rows.ndim == 4 else kept
            instead = rows.new_zeros(()) if held is None else held.to(rows)
            rows.copy_(torch.where(kept, rows, instead))

        return change


def _keeper(seen: dict[Place, Tensor], place: Place) -> Callable[[Tensor], None]:
    return lambda rows: seen.update({place: rows.clone()})


def _site(key: NodeKey) -> tuple[Place, str]:
    if key.kind in (NodeKind.FEATURE, NodeKind.ERROR):
        return (key.site, key.layer), "feature"
    if key.kind is NodeKind.HEAD:
        return (Site.HEAD_Z, key.layer), "part"
    return (Site.MLP_HIDDEN if key.unit >= 0 else Site.MLP_OUT, key.layer), "part"


def _some(features: ActiveFeatures, chosen: Tensor) -> ActiveFeatures:
    return ActiveFeatures(
        features.position[chosen], features.unit[chosen], features.value[chosen],
        features.preactivation[chosen],
    )  # fmt: skip
