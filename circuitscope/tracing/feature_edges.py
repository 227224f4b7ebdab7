"""Keep some edges between features, and let everything between them be computed anew.

1. Every feature of the circuit reads a stream of its own: the embedding, constants, and what each
   source writes in this run where their edge is kept, else nothing (or what it wrote in another
   run). Attention, norm and MLP in front of it run on that stream; its dictionary encodes the
   result; the feature writes its activation.
2. All else is outside: other features and errors, and edges that the circuit has not. It is kept
   or left out as a whole. What is outside, and errors, have no edges into them: they read all that
   is there; a source is there while any of its edges is kept.
3. The metric reads a stream of its own likewise.
4. Features of a layer and choices of edges run side by side, so that a choice costs about as many
   runs of a layer as it has features there, not one run for each edge.

The first position and the embedding are never replaced. With no edge and nothing outside, the
model holds what it does where all features and errors are 0 (`tracing.node_bench`).
"""

from __future__ import annotations

from collections.abc import Sequence
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
from circuitscope.dictionaries.dictionary import ActiveFeatures, Dictionary
from circuitscope.graph.influence import standing
from circuitscope.models.blueprint import Block, Blueprint
from circuitscope.models.drafting import draft
from circuitscope.models.prompts import Written, read_prompt
from circuitscope.tracing.metrics import Meter, read_metric
from circuitscope.tracing.node_bench import Choices, check_lengths, refuse_direction
from circuitscope.tracing.plan import make_plan
from circuitscope.tracing.relevance import Reading, read_logits
from circuitscope.tracing.reopen import dictionaries_of, settings_of
from circuitscope.tracing.totals import Totals, run_attention, run_mlp, run_totals, scaled

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel

ABLATIONS = ("auto", "zero", "resample")
MOST_EDGES = 250_000
"""Every choice names each edge; several hundred choices are held at once."""
_MOST_NUMBERS = 40_000_000
_READS = (
    Site.ATTN_OUT, Site.MLP_OUT, Site.MLP_IN, Site.RESID_MID, Site.LN2_NORMALIZED,
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class _Module:
    """An attention or MLP: its place, its dictionary, and the circuit's nodes that write there.

    Attributes:
        inside: Which features are nodes, bool [pos, feature]; None without a dictionary.
        erring: Where errors are nodes, 1 or 0, [pos, 1].
    """

    layer: int
    is_attention: bool
    dictionary: Dictionary | None
    features: list[int]
    errors: list[int]
    inside: Tensor | None
    erring: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class _Plain:
    """A plain run.

    Attributes:
        base: The constant part of what each module wrote, [pos, d_model].
        outside: What of it is outside the circuit, likewise.
        written: What each node wrote, [node, d_model]; 0 for words and constants.
    """

    totals: Totals
    base: list[Tensor]
    outside: list[Tensor]
    written: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class _Prompt:
    plain: _Plain
    other: _Plain | None
    meter: Meter


@dataclass(frozen=True, slots=True, eq=False)
class _Setup:
    """A circuit's nodes and edges, and the modules they are of.

    Attributes:
        sources: Of each target, its sources and the columns of their edges.
        feeding: The source of each column, int64 [column].
        root: The node whose metric is measured.
    """

    blueprint: Blueprint
    keys: list[NodeKey]
    modules: list[_Module]
    sources: dict[int, list[tuple[int, int]]]
    feeding: Tensor
    root: int

    def read_of(self, module: _Module, stream: Tensor, out: Tensor) -> Tensor:
        """Return what a module's dictionary reads, of its stream and its output, [.., d]."""
        dictionary = module.dictionary
        site = Site.NONE if dictionary is None else dictionary.card.read_site
        if site not in (Site.MLP_IN, Site.RESID_MID, Site.LN2_NORMALIZED):
            return out
        if site is Site.RESID_MID:
            return stream
        norm = scaled(stream, self.blueprint.blocks[module.layer].norm2)
        if site is Site.MLP_IN:
            return norm.after
        plain = self.blueprint.blocks[module.layer].norm2
        centred = stream - stream.mean(-1, keepdim=True) if plain.kind == "layer" else stream
        return centred / norm.scale

    def rest(self, module: _Module, out: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what is outside, errors, and the constant part of outputs [copy, pos, d]."""
        dictionary, (copies, n) = module.dictionary, out.shape[:2]
        if dictionary is None or module.inside is None:
            return out * (1 - module.erring), out, torch.zeros_like(out)
        flat = x.flatten(0, 1).float()
        found = dictionary.encode(flat)
        mine = module.inside[found.position % n, found.unit]
        none = torch.zeros_like(mine)
        constant, whole, others = (
            torch.unflatten(dictionary.decode(_some(found, one), len(flat), flat), 0, (copies, n))
            for one in (none, ~none, ~mine)
        )
        error = out - whole
        return others - constant + error * (1 - module.erring), error, constant

    def written(self, module: _Module, nodes: list[int], x: Tensor) -> Tensor:
        """Return what features write, each at its own position, for reads [copy, node, d]."""
        dictionary = module.dictionary
        assert dictionary is not None, "features have a dictionary"
        flat, rows = x.flatten(0, 1).float(), torch.arange(len(nodes), device=x.device)
        units = torch.tensor([self.keys[node].unit for node in nodes], device=x.device)
        acts = dictionary.activate(dictionary.preactivations(flat)).view(*x.shape[:2], -1)
        value = acts[:, rows, units] * dictionary.scale(flat).view(*x.shape[:2]).to(acts)
        return value[..., None] * dictionary.decoder_rows(units)

    def positions(self, nodes: list[int], like: Tensor) -> Tensor:
        """Return where nodes stand, int64 [node]."""
        return torch.tensor([self.keys[node].position for node in nodes], device=like.device)


class FeatureEdgeBench:
    """Run prompts with some edges between features intact.

    Attributes:
        edges: Edges that can be left out, those with the most influence first: all of features
            and errors beyond the first position.

    Args:
        model: A causal language model whose operations are known.
        circuit: Traced by method "direct", of features, errors and words.
        ablation: What edges carry that are left out: "auto" and "zero" nothing, "resample" what
            their source wrote in the corrupted prompt.
        dictionaries: Those of the trace.
    """

    def __init__(
        self,
        model: LoadedModel,
        circuit: Circuit,
        ablation: str,
        dictionaries: Sequence[Dictionary] | None = None,
    ) -> None:
        if ablation not in ABLATIONS:
            raise TraceError(
                f"Edges between features cannot carry their {ablation}.",
                hint=f"Choices: {', '.join(ABLATIONS)}.",
            )
        self._model, self._ablation = model, ablation
        self._circuit, self._blueprint = circuit, draft(model)
        self.n_pos = len(circuit.token_ids)
        self._keys = [circuit.nodes.key(node) for node in range(len(circuit.nodes))]
        self._modules = self._find_modules(dictionaries)
        nodes, edges = circuit.nodes, circuit.edges
        able = nodes.of_kind(NodeKind.FEATURE, NodeKind.ERROR) & (nodes.position != 0)
        found = np.flatnonzero(able[edges.source])
        order = np.argsort(-_scores(circuit)[found], kind="stable")
        self.edges: NDArray[np.int64] = found[order]
        if not len(self.edges):
            raise TraceError(
                "The circuit has no edges between features.", hint="Measure its nodes."
            )
        if len(self.edges) > MOST_EDGES:
            raise TraceError(
                f"The circuit has {len(self.edges)} edges between features; at most {MOST_EDGES} "
                "are measured.",
                kept="The circuit is unchanged.",
                hint="Trace with a smaller node budget, or measure its nodes (level node).",
            )
        sources: dict[int, list[tuple[int, int]]] = {}
        for column, edge in enumerate(self.edges.tolist()):
            sources.setdefault(int(edges.target[edge]), []).append(
                (int(edges.source[edge]), column)
            )
        root = int(circuit.roots[int(np.argmax(circuit.root_weights))])
        feeding = torch.from_numpy(edges.source[self.edges].astype(np.int64)).to(model.device)
        self._setup = _Setup(self._blueprint, self._keys, self._modules, sources, feeding, root)

    def _find_modules(self, given: Sequence[Dictionary] | None) -> list[_Module]:
        circuit = self._circuit
        settings = settings_of(circuit, self._model)
        plan = make_plan(self._model.anatomy, dictionaries_of(circuit, given), settings)
        kinds = {key.kind for key in self._keys}
        if kinds & {NodeKind.HEAD, NodeKind.NEURON, NodeKind.SCORE} or plan.stream:
            raise TraceError(
                "Only circuits of features, errors and words of attention and MLPs can be measured "
                "by their edges.",
                hint="Measure its nodes (level node).",
            )
        found = []
        for layer in range(self._blueprint.n_layers):
            for sites in ((Site.ATTN_OUT,), (Site.MLP_OUT, Site.MLP_TRANSCODER)):
                own = [(n, key) for n, key in enumerate(self._keys)
                       if key.layer == layer and key.site in sites]  # fmt: skip
                at = [plan.at(site, layer) for site in sites]
                dictionary = next((one for one in at if one is not None), None)
                self._check(dictionary, self._blueprint.blocks[layer])
                features = [n for n, key in own if key.kind is NodeKind.FEATURE]
                errors = [n for n, key in own if key.kind is NodeKind.ERROR]
                found.append(self._module(layer, sites[0], dictionary, features, errors))
        return found

    def _module(
        self,
        layer: int,
        site: Site,
        dictionary: Dictionary | None,
        features: list[int],
        errors: list[int],
    ) -> _Module:
        device, inside = self._model.device, None
        if dictionary is not None:
            inside = torch.zeros(self.n_pos, dictionary.card.n_features, dtype=torch.bool)
            for key in (self._keys[node] for node in features):
                inside[key.position, key.unit] = True
            inside = inside.to(device)
        erring = torch.zeros(self.n_pos, 1, device=device)
        erring[[self._keys[node].position for node in errors]] = 1
        is_attention = site is Site.ATTN_OUT
        return _Module(layer, is_attention, dictionary, features, errors, inside, erring)

    def _check(self, dictionary: Dictionary | None, block: Block) -> None:
        branched = block.post or block.branch1 is not None or block.branch2 is not None
        odd = dictionary is not None and (
            len(dictionary.written_layers) > 1
            or dictionary.skip is not None
            or dictionary.card.read_site not in _READS
        )
        if branched or odd:
            raise TraceError(
                "Edges cannot be measured where dictionaries have a skip, write to several layers "
                "or read heads, or where a norm follows a branch.",
                hint="Measure its nodes (level node).",
            )

    # ---- a prompt ----------------------------------------------------------------------------
    def open(self, prompt: Written, corrupted: Written | None, metric: Metric) -> _Prompt:
        """Make a prompt ready.

        Raises:
            TraceError: It, or its partner, has another number of tokens than the circuit's.
        """
        refuse_direction(metric, "Edges between features")
        ids = read_prompt(self._model, prompt).token_ids
        bad = None
        if self._ablation == "resample" and corrupted is not None:
            bad = read_prompt(self._model, corrupted).token_ids
        check_lengths((ids, bad), self.n_pos)
        meter = read_metric(self._model, self._blueprint, metric, len(ids))
        other = None if bad is None else self._plain(bad)
        return _Prompt(self._plain(ids), other, meter)

    @torch.no_grad()
    def _plain(self, ids: Sequence[int]) -> _Plain:
        tokens = torch.tensor(list(ids), device=self._model.device)
        totals = run_totals(self._blueprint, tokens)
        written = torch.zeros(len(self._keys), self._blueprint.d_model, device=tokens.device)
        base, outside = [], []
        for module in self._modules:
            layer = totals.layers[module.layer]
            out = layer.attn if module.is_attention else layer.mlp_added
            x = self._setup.read_of(module, layer.pre if module.is_attention else layer.mid, out)
            rest, error, constant = (one[0] for one in self._setup.rest(module, out[None], x[None]))
            if module.features:
                at = self._setup.positions(module.features, x)
                own = self._setup.written(module, module.features, x[at][None])[0]
                written[module.features] = own.to(written)
            if module.errors:
                written[module.errors] = error[self._setup.positions(module.errors, x)]
            base.append(constant)
            outside.append(rest)
        return _Plain(totals, base, outside, written)

    # ---- choices -----------------------------------------------------------------------------
    @torch.no_grad()
    def values(self, prompt: _Prompt, choices: Choices) -> list[float]:
        """Return the metric for each choice, bool [choice, edge + 1]; the last: what is outside."""
        widest = max([len(module.features) for module in self._modules] + [1]) + 1
        size = widest * self.n_pos * 4 * self._blueprint.d_model
        step, found = max(1, _MOST_NUMBERS // size), []
        for start in range(0, len(choices), step):
            run = _Choices(self._setup, prompt, choices[start : start + step])
            found += run.values()
        return found


class _Choices:
    """Some choices of edges, run side by side."""

    def __init__(self, setup: _Setup, prompt: _Prompt, choices: Choices) -> None:
        self._setup, self._prompt = setup, prompt
        self._modules, self._blueprint = setup.modules, setup.blueprint
        plain = prompt.plain
        self._kept = torch.from_numpy(choices).to(plain.written.device)
        self._written = plain.written.expand(len(choices), -1, -1).clone()
        self._other = torch.zeros_like(plain.written)
        if prompt.other is not None:
            self._other = prompt.other.written
        self._outside: list[Tensor] = []
        edges = self._kept[:, :-1].float()
        has = edges.new_zeros(len(setup.keys)).index_fill_(0, setup.feeding, 1)
        left = edges.new_zeros(len(edges), len(setup.keys)).index_add_(1, setup.feeding, edges)
        self._there = torch.where(has > 0, left > 0, self._kept[:, -1:])

    def _position(self, node: int) -> int:
        return self._setup.keys[node].position

    def values(self) -> list[float]:
        """Return the metric of each choice."""
        for number, module in enumerate(self._modules):
            stream = self._ordinary(number)
            self._write_features(number, module)
            self._outside.append(self._write_rest(number, module, stream))
        meter = self._prompt.meter
        final = self._streams(len(self._modules), [self._setup.root])[:, 0]
        reading = Reading((meter.position,), meter.tokens)
        values = meter.value(read_logits(self._blueprint, final, reading)[:, 0])
        found: list[float] = values.tolist()
        return found

    def _start(self, number: int) -> Tensor:
        """Return embedding, constants and what is outside, before a module, [choice, pos, d]."""
        plain = self._prompt.plain
        fixed = plain.totals.embed + sum(plain.base[:number], torch.zeros_like(plain.totals.embed))
        every = fixed.expand(len(self._kept), -1, -1)
        return every + sum(self._outside, torch.zeros_like(fixed))

    def _first(self, number: int) -> Tensor:
        """Return the plain stream at the first position before a module, [d]."""
        totals = self._prompt.plain.totals
        if number == len(self._modules):
            return totals.final[0]
        module = self._modules[number]
        layer = totals.layers[module.layer]
        return (layer.pre if module.is_attention else layer.mid)[0]

    def _nodes_before(self, number: int) -> list[int]:
        return [n for m in self._modules[:number] for n in (*m.features, *m.errors)]

    def _ordinary(self, number: int) -> Tensor:
        """Return the stream that errors and what is outside read, [choice, pos, d]."""
        stream = self._start(number)
        nodes = self._nodes_before(number)
        if nodes:
            there = self._there[:, nodes, None]
            now = torch.where(there, self._written[:, nodes], self._other[nodes])
            stream.index_add_(1, self._setup.positions(nodes, stream), now)
        stream[:, 0] = self._first(number)
        return stream

    def _streams(self, number: int, targets: list[int]) -> Tensor:
        """Return the stream that each target reads, [choice, target, pos, d]."""
        nodes = self._nodes_before(number)
        start = self._start(number)
        found = start[:, None].expand(-1, len(targets), -1, -1).clone()
        if nodes:
            place = {node: k for k, node in enumerate(nodes)}
            # Edges that the circuit has not are outside, and so go with it.
            keep = self._kept[:, -1, None, None].expand(-1, len(targets), len(nodes)).clone()
            for row, target in enumerate(targets):
                for source, column in self._setup.sources.get(target, ()):
                    if source in place:
                        keep[:, row, place[source]] = self._kept[:, column]
            own, other = self._written[:, nodes], self._other[nodes]
            at = self._setup.positions(nodes, own)
            for p in torch.unique(at).tolist():
                here = (at == p).nonzero()[:, 0]
                kept = keep[:, :, here].to(own)
                found[:, :, p] += torch.einsum("cts,csd->ctd", kept, own[:, here] - other[here])
                found[:, :, p] += other[here].sum(0)
        found[:, :, 0] = self._first(number)
        return found

    def _run(self, module: _Module, stream: Tensor) -> Tensor:
        """Return what a module writes for streams [.., pos, d]."""
        block = self._blueprint.blocks[module.layer]
        if not module.is_attention:
            return run_mlp(block, stream)
        mask = self._prompt.plain.totals.masks[module.layer]
        z = run_attention(block, stream, mask).z.flatten(-2)
        out = block.attention.out
        written = z @ out.weight
        return written if out.bias is None else written + out.bias

    def _write_features(self, number: int, module: _Module) -> None:
        """Compute what the circuit's features of a module write, each from its own stream."""
        free = [node for node in module.features if self._position(node) != 0]
        if not free:
            return
        streams = self._streams(number, free)
        at, rows = self._setup.positions(free, streams), torch.arange(len(free))
        stream = streams[:, rows, at]
        out = self._run(module, streams)[:, rows, at] if module.is_attention else (
            self._run(module, stream))  # fmt: skip
        x = self._setup.read_of(module, stream, out)
        self._written[:, free] = self._setup.written(module, free, x).to(self._written)

    def _write_rest(self, number: int, module: _Module, stream: Tensor) -> Tensor:
        """Compute errors; return what is outside, or stands for it, [choice, pos, d]."""
        out = self._run(module, stream)
        rest, error, _ = self._setup.rest(module, out, self._setup.read_of(module, stream, out))
        free = [node for node in module.errors if self._position(node) != 0]
        if free:
            self._written[:, free] = error[:, self._setup.positions(free, error)]
        other = self._prompt.other
        gone = torch.zeros_like(rest[0]) if other is None else other.outside[number]
        return torch.where(self._kept[:, -1, None, None], rest, gone)


def _scores(circuit: Circuit) -> NDArray[np.float64]:
    """Return how much influence passes through each edge."""
    known = standing(circuit)
    found = np.zeros(len(circuit.edges))
    found[known.seen] = known.share * (known.reached + known.start)[known.target]
    return found


def _some(features: ActiveFeatures, chosen: Tensor) -> ActiveFeatures:
    return ActiveFeatures(
        features.position[chosen], features.unit[chosen], features.value[chosen],
        features.preactivation[chosen],
    )  # fmt: skip
