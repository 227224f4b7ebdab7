"""Test nodes, edges and groups on the unfrozen model, against matched controls.

1. Run the prompt once; every test starts from it at the layer that it changes (`models.rerun`).
2. Change the node, the edge's source, or all members of the group; everything follows. The change
   of the root (an edge: of its target's pre-activation) is the total effect.
3. Do the same with matched controls (`tracing.changes`), many in one batch.
4. Predict: where all is switched off, from the circuit's edges over all paths (an edge: its own
   weight); for other changes from the real module with patterns, norm denominators and gates
   frozen. What a relevance circuit predicts is minus its relevance.

Badges are read off the results in `core.badges`, over all that are shown together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.core.badges import Outcome
from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import TraceError
from circuitscope.core.keys import NodeKey, NodeKind
from circuitscope.core.progress import Progress, silent
from circuitscope.graph.influence import is_flow, is_relevance
from circuitscope.models.capture import capture
from circuitscope.models.freezing import frozen_run
from circuitscope.models.frozen import FrozenModel
from circuitscope.models.places import Place
from circuitscope.models.prompts import Written, read_prompt, token_text
from circuitscope.models.reading import as_traced
from circuitscope.models.rerun import OUTPUT, Stream, open_stream, rerun
from circuitscope.models.threads import fitting_threads
from circuitscope.tracing.attention_score import score_of, sides_of
from circuitscope.tracing.changes import (
    ABLATIONS,
    COUNTERFACTUAL,
    MEAN,
    OVER_PROMPTS,
    Ablation,
    Added,
    Changes,
    Replacement,
    adding,
    check_ablatable,
    joined,
)
from circuitscope.tracing.measurement import Switches
from circuitscope.tracing.plan import make_plan
from circuitscope.tracing.reopen import dictionaries_of, settings_of
from circuitscope.tracing.verify import find_node, predict_total, strongest_into_roots

if TYPE_CHECKING:
    from circuitscope.dictionaries.dictionary import Dictionary
    from circuitscope.models.loading import LoadedModel

Name = int | NodeKey | str
DRAWS = 200
LEAST_DRAWS = 100
_TOP = 5
_ZERO_HEADS = (
    "Zero is a value that a head or MLP may never hold; read the result with care, or replace what "
    "it holds by that of another prompt."
)


@dataclass(frozen=True, slots=True, eq=False)
class _Subject:
    """What one test changes: nodes by index, and what it watches."""

    kind: str
    nodes: tuple[int, ...]
    watched: int
    edge: int = -1


@torch.no_grad()
def badges(  # noqa: PLR0913 - options by keyword
    model: LoadedModel,
    circuit: Circuit,
    nodes: Sequence[Name] | None = None,
    edges: Sequence[int] = (),
    groups: Sequence[Sequence[Name]] = (),
    *,
    root: Name | None = None,
    ablation: Ablation = "auto",
    counterfactual: Written | None = None,
    means: Sequence[Written] = (),
    draws: int = DRAWS,
    seed: int = 0,
    dictionaries: Sequence[Dictionary] | None = None,
    progress: Progress | None = None,
) -> tuple[Outcome, ...]:
    """Test nodes, edges and groups of a circuit on the unfrozen model.

    Args:
        model: The model the circuit was traced in.
        circuit: A circuit traced here.
        nodes: Nodes tested one by one; None with neither edges nor groups: the 20 with the
            strongest edges into a root, those at the first position left out.
        edges: Edge indices.
        groups: Each is changed as a whole.
        root: What is watched; None takes the root with the largest weight.
        ablation: "auto" switches features and errors off, and replaces what heads, MLPs, neurons
            and tokens hold by the counterfactual's, else by the mean; "zero" switches all off;
            "mean" and "resample" insist on one of the two.
        counterfactual: Another prompt of as many tokens.
        means: Prompts of as many tokens, averaged position by position.
        draws: Matched controls of each test, at least 100.
        seed: Seeds the controls.
        dictionaries: Those of the trace; None opens the folders named in the provenance.
        progress: Hears of every test; may cancel.

    Raises:
        TraceError: The circuit cannot be run again here, or something cannot be changed.
    """
    hear, model = progress or silent(), as_traced(model)
    _check(model, ablation, draws, counterfactual)
    with fitting_threads(model.anatomy):
        bench = _open(model, circuit, dictionaries, root)
        found = _replacement(model, circuit, ablation, counterfactual, means)
        changes = Changes(bench.switches, ablation, found, seed)
        subjects = _subjects(bench, nodes, edges, groups)
        hear.phase("Testing", len(subjects))
        results = []
        for subject in subjects:
            results.append(_test(bench, changes, subject, draws, seed))
            hear.advance()
    return tuple(results)


@dataclass(frozen=True, slots=True, eq=False)
class _Bench:
    """A circuit's plain run, ready for tests; `root` is the node watched."""

    switches: Switches
    stream: Stream
    root: int
    _plain: dict[Place, dict[Place, Tensor]] = field(default_factory=dict)

    @property
    def circuit(self) -> Circuit:
        return self.switches.circuit

    def plain(self, place: Place) -> dict[Place, Tensor]:
        """Return what the unchanged model holds at a place, and what it says."""
        if place not in self._plain:
            self._plain[place] = rerun(self.stream, {}, (place, OUTPUT), 1)
        return self._plain[place]


def _check(model: LoadedModel, ablation: str, draws: int, counterfactual: Written | None) -> None:
    if ablation not in ABLATIONS:
        raise TraceError(
            f"There is no ablation {ablation!r}.", hint=f"Choices: {', '.join(ABLATIONS)}."
        )
    if ablation == "resample" and counterfactual is None:
        raise TraceError(
            "Resampling needs a counterfactual prompt to take values from.",
            hint='Give counterfactual=…, a prompt of as many tokens, or ablation="mean".',
        )
    if draws < LEAST_DRAWS:
        raise TraceError(
            f"{draws} controls are too few to tell an effect from chance.",
            hint=f"Ask for at least {LEAST_DRAWS}.",
        )
    if not model.anatomy.causal:
        raise TraceError(
            f"{model.anatomy.name or model.anatomy.architecture} is no causal language model, and "
            "tests read the next token.",
            hint="Use decompose or faithfulness for this model.",
        )


def _open(
    model: LoadedModel,
    circuit: Circuit,
    dictionaries: Sequence[Dictionary] | None,
    root: Name | None,
) -> _Bench:
    settings = settings_of(circuit, model)
    plan = make_plan(model.anatomy, dictionaries_of(circuit, dictionaries), settings)
    stream = open_stream(model, circuit.token_ids)
    switches = Switches(model, circuit, plan, stream.cache, settings)
    at = find_node(circuit, root) if root is not None else main_root(circuit)
    if at not in circuit.roots:
        raise TraceError(
            f"{circuit.nodes.key(at)} is no root of the circuit.", hint="Choose one of its roots."
        )
    return _Bench(switches, stream, at)


def main_root(circuit: Circuit) -> int:
    """Return the root with the largest weight."""
    return int(circuit.roots[int(np.argmax(circuit.root_weights))])


def _replacement(
    model: LoadedModel,
    circuit: Circuit,
    ablation: Ablation,
    counterfactual: Written | None,
    means: Sequence[Written],
) -> Replacement:
    def read(prompt: Written) -> Any:
        ids = read_prompt(model, prompt).token_ids
        if len(ids) != len(circuit.token_ids):
            raise TraceError(
                f"The other prompt has {len(ids)} tokens, the circuit's has "
                f"{len(circuit.token_ids)}.",
                kept="The circuit is unchanged.",
                hint="Choose a prompt of as many tokens, so that every position has its partner.",
            )
        return capture(model, ids)

    if counterfactual is not None and ablation != "mean":
        return Replacement(COUNTERFACTUAL, read(counterfactual))
    if means:
        return Replacement(OVER_PROMPTS, means=tuple(read(prompt) for prompt in means))
    return Replacement(MEAN)


def _subjects(
    bench: _Bench,
    nodes: Sequence[Name] | None,
    edges: Sequence[int],
    groups: Sequence[Sequence[Name]],
) -> list[_Subject]:
    circuit, root = bench.circuit, bench.root
    if nodes is None:
        nodes = [] if edges or groups else _strongest(circuit)
    found = [_Subject("node", (find_node(circuit, node),), root) for node in nodes]
    for edge in edges:
        if not 0 <= int(edge) < len(circuit.edges):
            raise TraceError(f"The circuit has no edge {edge}.", hint="Choose one of its edges.")
        ends = int(circuit.edges.source[edge]), int(circuit.edges.target[edge])
        found.append(_Subject("edge", ends[:1], ends[1], int(edge)))
    for group in groups:
        members = tuple(dict.fromkeys(find_node(circuit, node) for node in group))
        found.append(_Subject("group", members, root))
    return found


def _strongest(circuit: Circuit) -> list[int]:
    able = [index for index in strongest_into_roots(circuit, 60).tolist() if _able(circuit, index)]
    strength = dict.fromkeys(able, 0.0)
    into = np.isin(circuit.edges.target, circuit.roots)
    for edge in np.flatnonzero(into).tolist():
        source = int(circuit.edges.source[edge])
        if source in strength:
            strength[source] = max(strength[source], abs(float(circuit.edges.weight[edge])))
    return sorted(sorted(able, key=lambda node: -strength[node])[:20])


def _able(circuit: Circuit, node: int) -> bool:
    try:
        check_ablatable(circuit.nodes.key(node))
    except TraceError:
        return False
    return True


def _test(bench: _Bench, changes: Changes, subject: _Subject, draws: int, seed: int) -> Outcome:
    circuit = bench.circuit
    members = subject.nodes
    remarks: list[str] = []
    if subject.kind == "group":
        members = tuple(node for node in members if _able(circuit, node))
        if not members:
            raise TraceError(
                "Nothing in the group can be changed.",
                hint="Choose tokens, features, heads, MLPs, neurons or errors beyond position 0.",
            )
        if left := len(subject.nodes) - len(members):
            remarks.append(f"{left} members at the first position or of a fixed kind kept.")
    keys = [circuit.nodes.key(node) for node in members]
    own = joined(changes.of(key) for key in keys)
    controls = joined(changes.controls(key, draws) for key in keys)
    watch, place = _watch(bench, subject.watched)
    plain, change = bench.plain(place), {at: adding(parts) for at, parts in own.items()}
    changed = rerun(bench.stream, change, (place, OUTPUT), 1)
    before, after = float(watch(plain[place])[0]), float(watch(changed[place])[0])
    noise = _control_effects(bench, controls, draws, place, watch) - before
    effect = after - before
    size = np.abs(noise)
    as_large = int((size >= abs(effect)).sum())
    words = tuple(dict.fromkeys(changes.words(key) for key in keys))
    if any(_is_part(key) and changes.words(key) == "zero" for key in keys):
        remarks.append(_ZERO_HEADS)
    said = _said(bench, subject, plain[OUTPUT], changed[OUTPUT])
    tested = Outcome(
        kind=subject.kind, subject=_names(circuit, subject), ablation=", ".join(words),
        root=str(circuit.nodes.key(subject.watched)),
        predicted=_predicted(bench, subject, members, own, words), effect=effect,
        band=float(np.quantile(size, 0.95)), p=(1 + as_large) / (1 + draws),
        n=draws, before=before, after=after, seed=seed, remarks=tuple(remarks),
        counterfactual=changes.counterfactual, means=changes.means,
    )  # fmt: skip
    return replace(tested, **said)


def _is_part(key: NodeKey) -> bool:
    whole_mlp = key.kind is NodeKind.NEURON and key.unit < 0
    return key.kind is NodeKind.HEAD or whole_mlp


def _names(circuit: Circuit, subject: _Subject) -> tuple[str, ...]:
    nodes = subject.nodes if subject.kind != "edge" else (*subject.nodes, subject.watched)
    return tuple(str(circuit.nodes.key(node)) for node in nodes)


Watch = Callable[[Tensor], Tensor]


def _watch(bench: _Bench, node: int) -> tuple[Watch, Place]:
    """Return how a node's pre-activation is read off a run in which everything follows."""
    switches, key = bench.switches, bench.circuit.nodes.key(node)
    if key.kind is NodeKind.SCORE:
        return _watch_score(bench, key)
    if key.kind in (NodeKind.TOKEN, NodeKind.POSITION, NodeKind.BIAS, NodeKind.ERROR):
        raise TraceError(f"{key} reads nothing, so no edge ends there.")
    dictionary = switches.dictionary(key) if key.kind is NodeKind.FEATURE else None
    if dictionary is not None:
        ids, at = torch.tensor([key.unit], device=switches.model.device), key.position
        row, constant = dictionary.encoder_rows(ids)[0], dictionary.encoder_constants(ids)[0]

        def held(x: Tensor) -> Tensor:
            # Denominators of the changed run, not the frozen ones.
            seen = x[:, at].float()
            return seen / dictionary.scale(seen)[:, None] @ row + constant

        return held, (dictionary.card.read_site, key.layer)
    try:
        place, see = switches.reads(key)
    except IndexError:
        raise TraceError(
            "The circuit explains a metric that is no logit, difference or direction.",
            hint="Trace or discover with one of these.",
        ) from None
    return see, place


def _watch_score(bench: _Bench, key: NodeKey) -> tuple[Watch, Place]:
    switches = bench.switches
    frozen = FrozenModel(switches.model, switches.cache, switches.settings.gated, torch.float64)
    target = score_of(switches.model.anatomy, key)
    sides = sides_of(frozen, target)

    def see(x: Tensor) -> Tensor:
        q = x[:, target.query].double() @ sides.query.weight + sides.query.bias
        k = x[:, target.key].double() @ sides.key.weight + sides.key.bias
        return (q * k).sum(-1)

    return see, (Site.ATTN_IN, key.layer)


def _control_effects(
    bench: _Bench, controls: dict[Place, list[Added]], draws: int, place: Place, watch: Watch
) -> NDArray[np.float64]:
    found, step = [], bench.stream.most_copies
    for start in range(0, draws, step):
        part = slice(start, min(start + step, draws))
        changes = {at: adding(parts, part) for at, parts in controls.items()}
        rows = rerun(bench.stream, changes, (place,), part.stop - part.start)[place]
        found.append(watch(rows).double().cpu().numpy())
    return np.concatenate(found)


def _predicted(
    bench: _Bench,
    subject: _Subject,
    members: tuple[int, ...],
    own: dict[Place, list[Added]],
    words: tuple[str, ...],
) -> float:
    circuit = bench.circuit
    if is_relevance(circuit) or (words == ("zero",) and not is_flow(circuit)):
        if subject.edge >= 0:
            return -float(circuit.edges.weight[subject.edge])
        column = int(np.flatnonzero(circuit.roots == subject.watched)[0])
        return float(predict_total(circuit, np.array(members), absorbing=True)[:, column].sum())
    return _frozen_effect(bench, subject.watched, own)


def _frozen_effect(bench: _Bench, watched: int, own: dict[Place, list[Added]]) -> float:
    """Return the effect of a change with patterns, norm denominators and gates held."""
    switches = bench.switches
    place, see = switches.reads(bench.circuit.nodes.key(watched))

    def editor(parts: list[Added]) -> Callable[[Tensor], Tensor]:
        change = adding(parts)

        def edit(rows: Tensor) -> Tensor:
            rows = rows.expand(2, *rows.shape[1:]).clone()  # learned positions pass once
            change(rows[1:])
            return rows

        return edit

    found = frozen_run(
        switches.model, switches.cache, {at: editor(parts) for at, parts in own.items()},
        (place,), gated=switches.settings.gated, batch=2,
    )[place]  # fmt: skip
    seen = see(found).double()
    return float(seen[1] - seen[0])


def _said(bench: _Bench, subject: _Subject, plain: Tensor, changed: Tensor) -> dict[str, Any]:
    """Return what the model says before and after, at the root's position."""
    model, key = bench.switches.model, bench.circuit.nodes.key(bench.root)
    logits = torch.stack([plain[0, key.position], changed[0, key.position]]).double()
    logs = logits.log_softmax(-1)
    chances = logs.exp()
    top = chances.topk(min(_TOP, logits.shape[-1]), dim=-1)
    listed = tuple(
        tuple((token_text(model, i), c) for i, c in zip(ids, values, strict=True))
        for ids, values in zip(top.indices.tolist(), top.values.tolist(), strict=True)
    )
    answer = (-1.0, -1.0)
    if key.kind is NodeKind.LOGIT and key.unit < logits.shape[-1] and subject.kind != "edge":
        answer = cast("tuple[float, float]", tuple(chances[:, key.unit].tolist()))
    divergence = float((chances[0] * (logs[0] - logs[1])).sum())
    return {"chances": answer, "divergence": max(divergence, 0.0), "top": listed}
