"""Switch nodes off by hooks on the real module, and read pre-activations from it.

What a node wrote is subtracted where it was written; heads are zeroed before W_O and neurons
before W_out, so that the module's own matrices carry the change on. Constants: `bias_effects`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.core.circuit import Circuit
from circuitscope.core.intervention import Intervention
from circuitscope.core.keys import BiasUnit, NodeKey, NodeKind
from circuitscope.core.progress import Progress
from circuitscope.core.settings import Direction, Logit, TraceSettings
from circuitscope.dictionaries.features import input_scale
from circuitscope.models.capture import ForwardCache
from circuitscope.models.freezing import frozen_run
from circuitscope.models.frozen import FrozenModel
from circuitscope.models.gates import activation
from circuitscope.models.intervene import run
from circuitscope.tracing.attention_score import SHARE, score_of, sides_of
from circuitscope.tracing.bias_effects import bias_off, encoder_constant, is_inside
from circuitscope.tracing.plan import Plan

if TYPE_CHECKING:
    from circuitscope.dictionaries.dictionary import Dictionary
    from circuitscope.models.loading import LoadedModel

Place = tuple[Site, int]
Editor = Callable[[Tensor], Tensor]
_BATCH = 32


@dataclass(frozen=True, slots=True, eq=False)
class Switches:
    """What is needed to switch a circuit's nodes off in the model it was traced in."""

    model: LoadedModel
    circuit: Circuit
    plan: Plan
    cache: ForwardCache
    settings: TraceSettings

    def dictionary(self, key: NodeKey) -> Dictionary | None:
        """Return the dictionary of a feature or error node, None for a whole output."""
        return self.plan.at(key.site, key.layer)

    def off(self, node: int) -> Intervention:
        """Return the change that switches a node off."""
        key = self.circuit.nodes.key(node)
        at = [key.position]
        if key.kind is NodeKind.HEAD:
            return Intervention(Site.HEAD_Z, key.layer, head=key.unit, positions=at)
        if key.kind is NodeKind.NEURON:
            return Intervention(Site.MLP_HIDDEN, key.layer, units=[key.unit], positions=at)
        if key.kind in (NodeKind.TOKEN, NodeKind.POSITION):
            return Intervention(key.site, positions=at)
        written, site = self._written(key), self.written_at(key)
        return Intervention(site, key.layer, positions=at, mode="add", value=-written.numpy())

    def written_at(self, key: NodeKey) -> Site:
        """Return where what a feature, error or b_dec writes is added: before a norm, or after."""
        dictionary = self.dictionary(key)
        return key.site.writes if dictionary is None else dictionary.card.write_site

    def _written(self, key: NodeKey) -> Tensor:
        """Return what a feature or error node wrote, [d_model]."""
        out = self.cache.site(self.written_at(key), key.layer)
        dictionary = self.dictionary(key)
        if dictionary is None:
            return out[key.position].cpu()
        x = self.cache.site(dictionary.card.read_site, key.layer)
        found = dictionary.encode(x)
        if key.kind is NodeKind.ERROR:
            return (out - dictionary.written(found, len(out), x))[key.position].cpu()
        value = found.value[(found.position == key.position) & (found.unit == key.unit)]
        row = dictionary.decoder_rows(torch.tensor([key.unit], device=out.device))[0]
        return (value.sum() * row * dictionary.scale(x)[key.position]).cpu()

    def reads(self, key: NodeKey) -> tuple[Place, Editor]:
        """Return where a node's pre-activation is seen, and how: [batch, pos, ..] -> [batch]."""
        at, unit = key.position, key.unit
        if key.kind is NodeKind.LOGIT:
            return self._reads_logit(at, unit)
        if key.kind is NodeKind.SCORE:
            return self._reads_score(key)
        if key.kind is NodeKind.HEAD:
            frozen = FrozenModel(self.model, self.cache)
            write = frozen.write_heads(key.layer, self.cache.head_z[key.layer])[at, unit]
            direction = torch.zeros_like(self.cache.embed)
            direction[at] = write / write.norm()
            back = frozen.norm_vjp(Site.ATTN_OUT_NORM, key.layer, direction)[at]
            along = frozen.weights.attention(key.layer).W_O[unit] @ back
            return (Site.HEAD_Z, key.layer), lambda z: z[:, at, unit] @ along.to(z.dtype)
        if key.kind is NodeKind.NEURON:
            gate = self._plain_gate(key)
            return (Site.MLP_HIDDEN, key.layer), lambda h: h[:, at, unit] / gate
        dictionary = self.dictionary(key)
        assert dictionary is not None, "a feature without dictionary"
        place, see = self.seen(dictionary)
        ids = torch.tensor([unit], device=self.cache.token_ids.device)
        row = dictionary.encoder_rows(ids)[0].double()
        scale = input_scale(dictionary, self.cache)
        if scale is not None:
            row = row / scale[at].double()
        constant = dictionary.encoder_constants(ids)[0].double()
        return place, lambda x: see(x)[:, at].double() @ row + constant

    def _reads_logit(self, at: int, unit: int) -> tuple[Place, Editor]:
        size = self.model.anatomy.d_vocab
        if unit < size:
            if self._is_centred(unit):
                return (Site.LOGITS, 0), lambda logits: logits[:, at, unit] - logits[:, at].mean(-1)
            return (Site.LOGITS, 0), lambda logits: logits[:, at, unit]
        if unit < size * (size + 1):
            a, b = unit % size, unit // size - 1
            return (Site.LOGITS, 0), lambda logits: logits[:, at, a] - logits[:, at, b]
        target = self.settings.targets[unit - size * (size + 1)]
        assert isinstance(target, Direction), "this unit stands for a direction"
        device = self.cache.token_ids.device
        vector = torch.tensor(target.vector, dtype=torch.float64, device=device)
        return (Site.LN_FINAL, 0), lambda final: final[:, at].double() @ vector

    def _is_centred(self, token: int) -> bool:
        """Return whether a token's logit was explained less the mean over the vocabulary."""
        asked = (t for t in self.settings.targets if isinstance(t, Logit))
        return any(
            t.reading == "centred" and (t.token is None or self.model.find_token(t.token) == token)
            for t in asked
        )

    def _reads_score(self, key: NodeKey) -> tuple[Place, Editor]:
        """Return the sum of half of what each side makes while the other is held at its value."""
        target = score_of(self.model.anatomy, key)
        frozen = FrozenModel(self.model, self.cache, self.settings.gated, torch.float64)
        sides = sides_of(frozen, target)

        def see(x: Tensor) -> Tensor:
            q, k = (
                x[:, at].double() @ own.weight + own.bias
                for at, own in ((target.query, sides.query), (target.key, sides.key))
            )
            return SHARE * (q @ sides.key.value + k @ sides.query.value)

        return (Site.ATTN_IN, key.layer), see

    def score(self, key: NodeKey, cache: ForwardCache) -> float:
        """Return a score in a changed run, with the denominators of that run."""
        frozen = FrozenModel(self.model, cache, self.settings.gated, torch.float64)
        return sides_of(frozen, score_of(self.model.anatomy, key)).score

    def _plain_gate(self, key: NodeKey) -> float:
        """Return act(z) / z of a plain MLP's neuron; 1 for gated MLPs, whose row explains h."""
        mlp = self.model.family.mlp_weights(self.model.module, key.layer)
        if mlp.gated:
            return 1.0
        z = self.cache.mlp_gate[key.layer][key.position, key.unit]
        return float(activation(mlp.activation).gate(z.double()))

    def seen(self, dictionary: Dictionary) -> tuple[Place, Editor]:
        """Return where a dictionary's input is seen, and how it is made from what passes there."""
        site, layer = dictionary.card.read_site, dictionary.card.layers[0]
        if site is not Site.LN2_NORMALIZED:
            return (site, layer), lambda x: x
        scale = self.cache.norm_scales[site, layer][:, None]
        centred = self.model.anatomy.norm == "layer"
        return (
            Site.RESID_MID,
            layer,
        ), lambda x: (x - x.mean(-1, keepdim=True) if centred else x) / scale.to(x.dtype)


def direct_effects(
    switches: Switches,
    source: NDArray[np.int64],
    target: NDArray[np.int64],
    progress: Progress,
) -> NDArray[np.float64]:
    """Measure the change of each target's pre-activation when its source alone is switched off.

    Args:
        switches: The circuit and its run.
        source: Nodes switched off, [k].
        target: Nodes watched, [k].
        progress: Advanced once per pair.

    Returns:
        Changes, float64 [k].
    """
    measured = np.zeros(len(source))
    nodes = switches.circuit.nodes
    where = np.stack([nodes.kind[target], nodes.site[target], nodes.layer[target]], axis=1)
    groups, member = np.unique(where, axis=0, return_inverse=True)
    progress.phase("Measuring", len(source))
    for group in range(len(groups)):
        pairs = np.flatnonzero(member.reshape(-1) == group)
        off = np.unique(source[pairs])
        for start in range(0, len(off), _BATCH):
            batch = off[start : start + _BATCH]
            here = pairs[np.isin(source[pairs], batch)]
            found = _frozen_without(switches, batch, nodes.key(int(target[here[0]])))
            for pair in here:
                watched = nodes.key(int(target[pair]))
                place, see = switches.reads(watched)
                values = see(found[place]).double()
                changed = values[1 + int(np.searchsorted(batch, source[pair]))]
                change = float(changed - values[0])
                off_key = nodes.key(int(source[pair]))
                if off_key.kind is NodeKind.BIAS and is_inside(off_key, watched):
                    constant = encoder_constant(switches, watched)
                    own = off_key.unit == BiasUnit.ENCODER
                    change = -constant if own else constant - float(changed)
                measured[pair] = change
            progress.advance(len(here))
    return measured


def _frozen_without(
    switches: Switches, off: NDArray[np.int64], target: NodeKey
) -> dict[Place, Tensor]:
    """Run the frozen module with each node switched off in one copy; copy 0 is unchanged."""
    edits: dict[Place, list[tuple[int, Intervention]]] = {}
    for copy, node in enumerate(off, start=1):
        key = switches.circuit.nodes.key(int(node))
        is_bias = key.kind is NodeKind.BIAS
        change = bias_off(switches, key, target) if is_bias else switches.off(int(node))
        if change is not None:
            edits.setdefault((Site.parse(change.site), change.layer), []).append((copy, change))
    batch = len(off) + 1
    editors = {place: _editor(changes, batch) for place, changes in edits.items()}
    _add_skips(switches, editors)
    place, _ = switches.reads(target)
    # Roots of one group may be logits and directions, which are seen at two places.
    top = ((Site.LOGITS, 0), (Site.LN_FINAL, 0))
    read = top if target.kind is NodeKind.LOGIT else (place,)
    return frozen_run(
        switches.model, switches.cache, editors, read, hold=_held(switches, edits, target),
        gated=switches.settings.gated, batch=batch,
    )  # fmt: skip


def _held(
    switches: Switches, edits: dict[Place, list[tuple[int, Intervention]]], target: NodeKey
) -> list[Place]:
    """Return the outputs to hold: all but the target's own, at the place where they are edited."""
    held = [
        (dictionary.card.write_site, dictionary.card.layers[0])
        for dictionary in switches.plan.stream
        if (dictionary.card.feature_site, dictionary.card.layers[0]) != (target.site, target.layer)
    ]
    for layer in range(switches.model.anatomy.n_layers):
        for site, inner, write in (
            (Site.ATTN_OUT, Site.HEAD_Z, Site.ATTN_WRITE),
            (Site.MLP_OUT, Site.MLP_HIDDEN, Site.MLP_WRITE),
        ):
            own = target.layer == layer and target.site in (site, inner)
            if not own and not switches.plan.passes(site, layer):
                held.append((inner, layer))
                if not edits.keys() & {(inner, layer), (write, layer)}:
                    held.append((site, layer))
    return held


def _editor(changes: list[tuple[int, Intervention]], batch: int) -> Editor:
    def edit(tensor: Tensor) -> Tensor:
        # Learned positions pass once for the whole batch.
        changed = tensor.expand(batch, *tensor.shape[1:]).clone()
        for copy, change in changes:
            at = slice(None) if change.positions is None else change.positions[0]
            if change.head is not None:
                changed[copy, at, change.head] = 0
            elif change.units is not None:
                changed[copy, at, change.units[0]] = 0
            elif change.mode == "add":
                changed[copy, at] += torch.as_tensor(change.value).to(changed)
            else:
                changed[copy, at] = 0
        return changed

    return edit


def _add_skips(switches: Switches, editors: dict[Place, Editor]) -> None:
    """Let a change of a skip transcoder's input pass to its output, as the skip does."""
    for dictionary in switches.plan.mlp:
        if dictionary is not None and dictionary.skip is not None:
            layer = dictionary.card.layers[0]
            (place, see), written = switches.seen(dictionary), (dictionary.card.write_site, layer)
            before = switches.cache.site(dictionary.card.read_site, layer)
            edits = editors.get(place), editors.get(written)
            skip = _Skip(dictionary.skip, see, before, edits)
            editors[place], editors[written] = skip.remember, skip.write


class _Skip:
    """Carry a change of what a dictionary reads over its skip.

    Args:
        skip: W_skip, [d_out, d_in].
        see: Makes the dictionary's input from what passes there.
        before: That input in the plain run, [pos, d_in].
        edits: Other edits: of what the dictionary reads, made first; of its output, made last.
    """

    def __init__(
        self,
        skip: Tensor,
        see: Editor,
        before: Tensor,
        edits: tuple[Editor | None, Editor | None],
    ) -> None:
        self._skip, self._see, self._before = skip, see, before
        self._first, self._then = edits
        self._change = before[:0]

    def remember(self, x: Tensor) -> Tensor:
        """Note how the input has changed."""
        x = x if self._first is None else self._first(x)
        self._change = self._see(x) - self._before.to(x.dtype)
        return x

    def write(self, out: Tensor) -> Tensor:
        """Add the change to the output."""
        moved = out + self._change @ self._skip.T.to(out.dtype)
        return moved if self._then is None else self._then(moved)


def total_effects(
    switches: Switches,
    off: NDArray[np.int64],
    roots: NDArray[np.int64],
    progress: Progress,
) -> NDArray[np.float64]:
    """Measure the change of each root when a node is switched off and all else recomputed.

    Returns:
        Changes, float64 [node, root].
    """
    circuit = switches.circuit
    measured = np.zeros((len(off), len(roots)))
    progress.phase("Measuring", len(off))

    def values(cache: ForwardCache) -> NDArray[np.float64]:
        found = []
        for root in roots:
            key = circuit.nodes.key(int(root))
            if key.kind is NodeKind.SCORE:
                found.append(switches.score(key, cache))
                continue
            (site, layer), see = switches.reads(key)
            found.append(float(see(cache.site(site, layer)[None])[0]))
        return np.array(found)

    before = values(switches.cache)
    for row, node in enumerate(off):
        changed = run(switches.model, circuit.token_ids, [switches.off(int(node))])
        measured[row] = values(changed.cache) - before
        progress.advance()
    return measured
