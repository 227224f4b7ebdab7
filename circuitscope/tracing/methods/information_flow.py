"""Information flow routes: what each state of the residual stream is made of, back to the words.

1. Every state is a sum: a token's embedding and position; a state and what each head brings from
   each position; a state and what the MLP writes. A part z of the sum y has the importance
   max(0, |y| - |y - z|) in the L1 norm, divided by the sum over all parts.
2. Drop parts of less importance than the threshold, and constants.
3. From the last state back: a state passes its importance on to its parts; what a head brought
   came from the state it looked at, what an MLP wrote from the state it read.
4. States themselves are no nodes: what a head or MLP reads is traced through them to those who
   wrote it, so that its row is a sum of shares, and with what was dropped makes 1.

One run and no gradient (Ferrando & Voita 2024, arXiv 2403.00824). Ignored: what the parts do to
the answer. Importances say what a state consists of; two parts that cancel both count as nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import circuitscope
from circuitscope.core.anatomy import ModelAnatomy, Site
from circuitscope.core.circuit import Circuit, EdgeTable, NodeTable, Route
from circuitscope.core.dictionary import DictionaryCard
from circuitscope.core.errors import TraceError
from circuitscope.core.finding import Provenance
from circuitscope.core.keys import NodeKey, NodeKind
from circuitscope.core.progress import Progress
from circuitscope.core.settings import Logit, TraceSettings
from circuitscope.models.blueprint import Block
from circuitscope.models.capture import capture
from circuitscope.models.drafting import draft
from circuitscope.models.family import Norm
from circuitscope.models.prompts import position_in, read_prompt
from circuitscope.models.reading import model_record
from circuitscope.tracing.ablating import Unit
from circuitscope.tracing.method import Refusal
from circuitscope.tracing.plan import operations_refusal
from circuitscope.tracing.relevance_circuit import key_of, name_of
from circuitscope.tracing.run import Clock, libraries
from circuitscope.tracing.totals import LayerTotals, run_totals, scaled, spread

if TYPE_CHECKING:
    from circuitscope.dictionaries.dictionary import Dictionary
    from circuitscope.models.loading import LoadedModel

Array = NDArray[np.float64]
TOKEN, POSITION = 0, 1
_REMARK = (
    "Edges are shares of what the reading part's input consists of, not effects on the answer; "
    "parts under {0:.3g} of a sum are left out."
)


@torch.no_grad()
def importances(parts: Tensor, whole: Tensor) -> Tensor:
    """Return what share of a sum each of its parts is, [.., part].

    Args:
        parts: [.., part, d_model]; they add up to the whole.
        whole: [.., d_model].

    Returns:
        Numbers from 0 up that add up to 1, float64; all 0 where every part takes more away than
        it brings.
    """
    parts, whole = parts.double(), whole.double()
    near = (whole.abs().sum(-1)[..., None] - (whole[..., None, :] - parts).abs().sum(-1)).relu()
    total = near.sum(-1, keepdim=True)
    return torch.where(total > 0, near / total, torch.zeros_like(near))


class InformationFlow:
    """Trace the routes of information back through the stream."""

    title = "Information flow routes"
    settings_type = TraceSettings

    def requires(
        self, anatomy: ModelAnatomy, cards: Sequence[DictionaryCard], settings: TraceSettings
    ) -> Refusal | None:
        """Say why it cannot run on this model; None where it can."""
        if refused := operations_refusal(self.title, anatomy):
            return refused
        if len(settings.targets) != 1 or not isinstance(settings.targets[0], Logit):
            return Refusal(
                f"{self.title} starts at the state above one position.", "Choose one word."
            )
        return None

    def run(
        self,
        model: LoadedModel,
        dictionaries: Sequence[Dictionary],
        settings: TraceSettings,
        progress: Progress,
    ) -> Circuit:
        """Compute the circuit of heads, MLPs and words that the last state is made of."""
        clock, target = Clock(), settings.targets[0]
        assert isinstance(target, Logit), "requires refuses others"
        ids = read_prompt(model, settings.prompt).token_ids
        at = position_in(len(ids), target.position)
        stream = flow_of(model, ids, settings.least_share, progress)
        logits = torch.from_numpy(model.run(list(ids)).logits[at]).double()
        word = int(logits.argmax()) if target.token is None else model.find_token(target.token)
        weight = float(logits.softmax(-1)[word])
        settings = replace(settings, targets=(Logit(word, target.position),))
        return _circuit(model, stream, settings, (at, word, weight), clock)


@dataclass(frozen=True, slots=True, eq=False)
class Flow:
    """Shares of a run; who wrote is a column: token, position, then heads and the MLP by layer.

    Attributes:
        pre: What the state before each layer consists of, [pos, column + 1]; the last column is
            what was left out. mid: the same after attention; final: of the last state.
        looked: Importance of what each head brings from each position, [query, head, key].
    """

    ids: tuple[int, ...]
    n_heads: int
    pre: list[Array]
    mid: list[Array]
    looked: list[Array]
    final: Array

    def column(self, layer: int, head: int) -> int:
        """Return the column of a head, or with head -1 of the MLP."""
        return 2 + layer * (self.n_heads + 1) + (self.n_heads if head < 0 else head)

    def place(self, column: int) -> tuple[int, int]:
        """Return layer and head of a column; head -1 is the MLP."""
        layer, head = divmod(column - 2, self.n_heads + 1)
        return layer, -1 if head == self.n_heads else head

    def row(self, position: int, column: int) -> Array:
        """Return what a head or MLP at a position reads, by who wrote it, [pos, column + 1]."""
        layer, head = self.place(column)
        found = np.zeros_like(self.final)
        if head < 0:
            found[position] = self.mid[layer][position]
            return found
        looked = self.looked[layer][position, head]
        found += looked[:, None] / looked.sum() * self.pre[layer]
        return found

    def reached(self, position: int) -> Array:
        """Return what share of the state above a position goes through each part.

        Returns:
            [pos, column + 1]. Words, positions and what was left out make 1 together.
        """
        found = np.zeros_like(self.final)
        found[position] = self.final[position]
        for layer in reversed(range(len(self.pre))):
            through = found[:, self.column(layer, -1)]
            found += through[:, None] * self.mid[layer]
            heads = found[:, self.column(layer, 0) : self.column(layer, 0) + self.n_heads]
            looked = self.looked[layer]
            whole = looked.sum(-1)
            rate = np.divide(heads, whole, out=np.zeros_like(heads), where=whole > 0)
            found += np.einsum("qh,qhk->k", rate, looked)[:, None] * self.pre[layer]
        return found


@torch.no_grad()
def flow_of(model: LoadedModel, ids: Sequence[int], least: float, progress: Progress) -> Flow:
    """Run a prompt and decompose every state of its stream; see the head of this module.

    Raises:
        TraceError: A norm follows each sum, as in BERT.
    """
    blueprint = draft(model)
    if blueprint.blocks[0].post:
        raise TraceError("Information flow needs a stream that every branch adds to.")
    cache = capture(model, ids)
    totals = run_totals(blueprint, cache.token_ids)
    learned = torch.zeros_like(totals.embed) if cache.pos_embed is None else cache.pos_embed
    n, n_heads = len(ids), blueprint.heads[0]
    state = np.zeros((n, 2 + blueprint.n_layers * (n_heads + 1) + 1))
    state[:, [TOKEN, POSITION]] = _kept(
        importances(torch.stack([totals.embed - learned, learned], 1), totals.embed), least
    )
    state[:, -1] = 1 - state[:, [TOKEN, POSITION]].sum(-1)
    found = Flow(tuple(ids), n_heads, [], [], [], state)
    progress.phase("Decomposing states", blueprint.n_layers)
    for number, (block, layer) in enumerate(zip(blueprint.blocks, totals.layers, strict=True)):
        found.pre.append(state)
        stay, looked = _attention(block, layer, least)
        found.looked.append(looked)
        first = found.column(number, 0)
        state = _passed(state, stay, slice(first, first + n_heads), looked.sum(-1))
        found.mid.append(state)
        two = _kept(importances(torch.stack([layer.read, layer.mlp_added], 1), layer.sum2), least)
        last = found.column(number, -1)
        state = _passed(state, two[:, 0], slice(last, last + 1), two[:, 1:])
        progress.advance()
    return Flow(found.ids, n_heads, found.pre, found.mid, found.looked, state)


def _passed(state: Array, stay: Array, columns: slice, new: Array) -> Array:
    """Return a state after a sum: what stayed of it, what was added, and what was left out."""
    found = state * stay[:, None]
    found[:, columns] = new
    found[:, -1] += 1 - stay - new.sum(-1)
    return found


def _kept(shares: Tensor, least: float) -> Array:
    found: Array = shares.double().cpu().numpy()
    return np.where(found >= least, found, 0.0)


def _attention(block: Block, layer: LayerTotals, least: float) -> tuple[Array, Array]:
    """Return what stays of each state, [pos], and what heads bring, [query, head, key]."""
    attention, plain = block.attention, layer.attention
    out = torch.unflatten(attention.out.weight, 0, (attention.n_heads, -1))
    moved = torch.einsum("khe,hed->hkd", spread(plain.v, attention.n_heads), out)
    stays, looks = [], []
    for at in range(len(layer.pre)):
        parts = plain.pattern[:, at, :, None] * moved
        brought = torch.cat([parts.flatten(0, 1), _bias(block, parts)], 0)
        brought = _branched(brought, block.branch1, layer, at)
        shares = _kept(importances(torch.cat([layer.pre[at][None], brought]), layer.mid[at]), least)
        n = parts.shape[0] * parts.shape[1]
        stays.append(shares[0])
        looks.append(shares[1 : 1 + n].reshape(parts.shape[:2]))
    return np.array(stays), np.array(looks)


def _bias(block: Block, like: Tensor) -> Tensor:
    bias = block.attention.out.bias
    return like.new_zeros(1, like.shape[-1]) if bias is None else bias[None]


def _branched(parts: Tensor, norm: Norm | None, layer: LayerTotals, at: int) -> Tensor:
    """Carry parts through the norm after a branch, its size as it was; its bias is a part too."""
    if norm is None:
        return parts
    scale = scaled(layer.out.after[at], norm).scale
    centred = parts - parts.mean(-1, keepdim=True) if norm.kind == "layer" else parts
    found = centred / scale * norm.weight
    return found if norm.bias is None else torch.cat([found, norm.bias[None]])


def _circuit(
    model: LoadedModel,
    flow: Flow,
    settings: TraceSettings,
    root: tuple[int, int, float],
    clock: Clock,
) -> Circuit:
    at, word, weight = root
    importance = flow.reached(at)[:, :-1]
    order = np.argsort(-importance, axis=None, kind="stable")[: settings.max_nodes]
    chosen = [divmod(int(k), importance.shape[1]) for k in order if importance.flat[k] > 0]
    keys = {_key(flow, place): place for place in chosen}
    logit = NodeKey(NodeKind.LOGIT, Site.LOGITS, model.anatomy.n_layers, at, word)
    names = [*sorted(keys), logit]
    places = {keys[key]: k for k, key in enumerate(names[:-1])}
    n = len(names)
    source, target, shares = [], [], []
    preactivation, unexplained = np.zeros(n), np.zeros(n)
    for k, key in enumerate(names):
        if key.kind in (NodeKind.TOKEN, NodeKind.POSITION):
            continue
        if key == logit:
            row = np.zeros_like(flow.final)
            row[at] = flow.final[at]
        else:
            row = flow.row(*keys[key])
        unexplained[k], preactivation[k] = row[:, -1].sum(), 1.0
        for place in zip(*np.nonzero(row[:, :-1]), strict=True):
            other = places.get((int(place[0]), int(place[1])))
            if other is None:
                unexplained[k] += row[place]
                continue
            source.append(other)
            target.append(k)
            shares.append(row[place])
    expanded = preactivation > 0
    total = np.bincount(target, shares, minlength=n) if shares else np.zeros(n)
    held = np.array([*(importance[keys[key]] for key in names[:-1]), 1.0])
    provenance = Provenance(
        method="information_flow", app_version=circuitscope.__version__,
        settings=settings.as_json(), model=model_record(model),
        dtype=str(model.dtype).removeprefix("torch."), device=str(model.device),
        started=datetime.now(UTC).isoformat(timespec="seconds"), seconds=clock.seconds(),
        libraries=libraries(), remarks=(_REMARK.format(settings.least_share),),
        scores={"followed": float(importance[:, [TOKEN, POSITION]].sum())},
    )  # fmt: skip
    return Circuit(
        tuple(model.token_text(one) for one in flow.ids), flow.ids,
        NodeTable.from_keys(names, held, np.where(np.arange(n) == n - 1, 0, held)),
        EdgeTable(np.array(source, int), np.array(target, int), np.array(shares, np.float32),
                  np.full(len(source), Route.FLOW)),
        np.array([n - 1]), np.array([weight]), preactivation.astype(np.float32),
        unexplained.astype(np.float32),
        np.abs(preactivation - total - unexplained).astype(np.float32), expanded, provenance,
        (*(_name(key) for key in names[:-1]), model.token_text(word).strip()),
    )  # fmt: skip


def _key(flow: Flow, place: tuple[int, int]) -> NodeKey:
    position, column = place
    if column == TOKEN:
        return NodeKey(NodeKind.TOKEN, Site.EMBED, -1, position, flow.ids[position])
    if column == POSITION:
        return NodeKey(NodeKind.POSITION, Site.POS_EMBED, -1, position, position)
    layer, head = flow.place(column)
    return key_of(Unit(layer, position, head))


def _name(key: NodeKey) -> str:
    if key.kind is NodeKind.HEAD:
        return name_of(Unit(key.layer, key.position, key.unit))
    return name_of(Unit(key.layer, key.position, -1)) if key.kind is NodeKind.NEURON else ""
