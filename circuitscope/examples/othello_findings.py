"""Test on our Othello-GPT what He et al. (2024, arXiv 2402.12201) found in theirs.

Each claim has a question, numbers and a bar that was set before the numbers were seen. "Holds" is
above the bar, "holds in part" above its half (or for a part of the places named), else "does not
hold". Claims 1 to 3 count the rules of `othello_evidence`; 4, 6 and 7 are arithmetic on frozen
forward passes, 4 with a test on the unfrozen model beside it; 8 asks linear probes.

Positions: those of `othello_evidence` (35 400) for rules, 12 000 or more fresh ones for the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from circuitscope.examples import othello
from circuitscope.examples.dictionary_set import dictionary_name
from circuitscope.examples.othello_dictionaries import Sample
from circuitscope.examples.othello_evidence import Facts, Meaning, list_facts

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import GPT2LMHeadModel

    from circuitscope.dictionaries.training import DictionaryWeights

__all__ = ["CLAIMS", "Finding", "Place", "Subject", "examine", "kind_shares"]

CLAIMS = (
    "Layer 0 holds the current move, and moves that turn discs in one direction",
    "The middle layers hold the board as mine and theirs",
    "The last attention holds which squares are empty",
    "The last MLP holds which moves are legal",
    "A logit comes from few, specialised features of the last MLP",
    "Attention copies the board with a sign: odd token distance turns mine into theirs",
    "Heads that attend to own or to the opponent's moves do so through position and colour",
    "By depth: the move and what it turns, then the board, then what is legal",
)
_GOOD = 0.7
"""F1 from which on a rule counts as what a feature means."""
SEED, GAMES = 4_000_037, 210


@dataclass(frozen=True, slots=True)
class Finding:
    """Hold one claim's outcome.

    Attributes:
        claim: In He et al.'s words, shortened.
        measure: What was measured, and the bar.
        verdict: "holds", "holds in part" or "does not hold".
        lines: Numbers in sentences.
        bars: For the picture: name and value, 0 to 1, in order.
    """

    claim: str
    measure: str
    verdict: str
    lines: tuple[str, ...]
    bars: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Hold one dictionary and what its features mean."""

    weights: DictionaryWeights
    meaning: Meaning

    def of_kind(self, facts: Facts, *kinds: str, least: float = _GOOD) -> NDArray[np.int64]:
        """Return the rows of `meaning` whose rule is about one of these kinds and good."""
        m = self.meaning
        return np.flatnonzero(np.isin(facts.kinds[m.first], kinds) & (m.f1 >= least))


@dataclass(slots=True)
class Subject:
    """Hold what is examined: model, dictionaries by name, facts, and fresh games."""

    model: GPT2LMHeadModel
    places: Mapping[str, Place]
    facts: Facts
    games: othello.Games
    sample: Sample
    _seen: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    @classmethod
    def with_fresh_games(
        cls,
        model: GPT2LMHeadModel,
        places: Mapping[str, Place],
        facts: Facts,
        n_games: int = GAMES,
    ) -> Subject:
        """Play games that nothing was trained, chosen or measured on before."""
        games, sample = Sample.played(SEED, n_games)
        return cls(model, places, facts, games, sample)

    @property
    def n_layers(self) -> int:
        """Return the number of blocks."""
        return int(self.model.config.n_layer)

    def read(self, name: str) -> NDArray[np.float32]:
        """Return what a place of the model holds on the fresh games.

        Args:
            name: "resid_pre_3", "attn_out_3", "mlp_out_3", "mlp_in_3", "pattern_3", "resid_final",
                "embed" or "position".

        Returns:
            [game, 59, d_model], or [game, head, query, key] for a pattern.
        """
        if not self._seen:
            self._seen = _run(self.model, self.sample)
        return self._seen[name]

    def rows(self, name: str) -> NDArray[np.float32]:
        """Return the same at positions that have a next move, [row, d_model]."""
        return self.read(name)[self.sample.asked.numpy()]


@torch.no_grad()
def _run(model: GPT2LMHeadModel, sample: Sample) -> dict[str, NDArray[np.float32]]:
    """Run the model, which must return its patterns, on all games and keep every site."""
    found: dict[str, list[torch.Tensor]] = {}
    handles = []

    def keep(name: str, value: torch.Tensor) -> None:
        found.setdefault(name, []).append(value)

    def watch(module: nn.Module, into: str = "", *out: str) -> None:
        if into:
            handles.append(module.register_forward_pre_hook(lambda _, args: keep(into, args[0])))
        if out:

            def written(_m: nn.Module, _a: object, result: Any) -> None:
                values = result if isinstance(result, tuple) else (result,)
                for name, value in zip(out, values, strict=False):
                    keep(name, value)

            handles.append(module.register_forward_hook(written))

    for layer, block in enumerate(model.transformer.h):
        watch(block, f"resid_pre_{layer}")
        watch(block.attn, "", f"attn_out_{layer}", f"pattern_{layer}")
        watch(block.mlp, f"mlp_in_{layer}", f"mlp_out_{layer}")
    watch(model.transformer.ln_f, "resid_final")
    try:
        for part in sample.batches():
            model(input_ids=part.ids)
    finally:
        for handle in handles:
            handle.remove()
    seen = {name: torch.cat(parts).numpy() for name, parts in found.items()}
    n = sample.ids.shape[1]
    seen["embed"] = model.transformer.wte(sample.ids).numpy()
    seen["position"] = np.broadcast_to(
        model.transformer.wpe(torch.arange(n)).numpy(), seen["embed"].shape
    )
    return seen


def _verdict(value: float, bar: float) -> str:
    if value >= bar:
        return "holds"
    return "holds in part" if value >= bar / 2 else "does not hold"


def _worst(verdicts: Sequence[str]) -> str:
    """Join the verdicts of a claim's parts."""
    if len(set(verdicts)) == 1:
        return verdicts[0]
    return "holds in part"


def kind_shares(place: Place, facts: Facts) -> dict[str, float]:
    """Return the share of a dictionary's alive features whose rule is of each kind, F1 >= 0.7."""
    n = max(1, len(place.meaning.unit))
    kinds = [*dict.fromkeys(facts.kinds.tolist())]
    return {kind: len(place.of_kind(facts, kind)) / n for kind in kinds}


def _shares(s: Subject, kinds: Sequence[str]) -> dict[str, float]:
    """Return, for every output dictionary by depth, the share of features of some kinds."""
    names = [
        dictionary_name(kind, layer)
        for layer in range(s.n_layers)
        for kind in ("attn_out", "mlp_out")
    ]
    return {n: sum(kind_shares(s.places[n], s.facts)[k] for k in kinds) for n in names}


def first_layer(s: Subject) -> Finding:
    """Claim 1: count features of the current move and of turns in one direction."""
    attention, mlp = s.places["attn_out_0"], s.places["mlp_out_0"]
    moves = kind_shares(attention, s.facts)["move"] + kind_shares(attention, s.facts)["turn"]
    own = kind_shares(mlp, s.facts)
    turns = mlp.of_kind(s.facts, "turn", "flipped")
    m = mlp.meaning
    one_way = float(np.mean(m.direction_f1[turns] > m.flipped_f1[turns])) if len(turns) else 0.0
    covered = len(set(s.facts.squares[m.first[mlp.of_kind(s.facts, "turn")]].tolist()))
    return Finding(
        CLAIMS[0],
        "Share of alive features of attn_out_0 whose best rule (F1 >= 0.7) is the square just "
        "played, bar 50 %; of the features of mlp_out_0 about turned discs, the share told better "
        "by a move that turns in one direction than by a turned square, bar 50 %.",
        _worst([_verdict(moves, 0.5), _verdict(one_way, 0.5)]),
        (
            f"attn_out_0: {moves:.0%} of {len(attention.meaning.unit)} alive features are about "
            "the square just played.",
            f"mlp_out_0: {own['turn']:.0%} of {len(m.unit)} alive features are a move that turns "
            f"discs in one direction (moves at {covered} of 60 squares), {own['flipped']:.0%} a "
            f"turned square, {own['move']:.0%} the square just played.",
            f"Of the {len(turns)} features about turned discs, {one_way:.0%} are told better by "
            "one direction than by a square.",
        ),
        (("move, attn 0", moves), ("turn, MLP 0", own["turn"]), ("one way", one_way)),
    )


def middle_layers(s: Subject) -> Finding:
    """Claim 2: count features of mine and theirs from the attention of layer 1 to MLP 4."""
    shares = _shares(s, ("mine", "theirs"))
    middle = {n: v for n, v in shares.items() if 0 < int(n.rpartition("_")[2]) < s.n_layers - 1}
    ends_ = {n: v for n, v in shares.items() if n not in middle}
    share = float(np.mean(list(middle.values())))
    return Finding(
        CLAIMS[1],
        "Share of alive features whose best rule (F1 >= 0.7) is a square being mine or theirs, "
        "mean over the eight outputs of layers 1 to 4, bar 50 %.",
        _verdict(share, 0.5),
        (
            f"Mean over layers 1 to {s.n_layers - 2}: {share:.0%}; over the first and the last "
            f"layer: {np.mean(list(ends_.values())):.0%}.",
            "By output: " + ", ".join(f"{n} {v:.0%}" for n, v in shares.items()) + ".",
        ),
        tuple(shares.items()),
    )


def _last(s: Subject, kind: str, name: str, number: int, words: str) -> Finding:
    shares = _shares(s, (kind,))
    share = shares[name]
    place = s.places[name]
    rows = place.of_kind(s.facts, kind)
    squares = len(set(s.facts.squares[place.meaning.first[rows]].tolist()))
    return Finding(
        CLAIMS[number],
        f"Share of alive features of {name} whose best rule (F1 >= 0.7) is {words}, bar 50 %.",
        _verdict(share, 0.5),
        (
            f"{name}: {share:.0%} of {len(place.meaning.unit)} alive features, for {squares} of "
            "60 squares.",
            "By output: " + ", ".join(f"{n} {v:.0%}" for n, v in shares.items()) + ".",
        ),
        tuple(shares.items()),
    )


def last_attention(s: Subject) -> Finding:
    """Claim 3: count features of empty squares in the last attention."""
    return _last(s, "empty", f"attn_out_{s.n_layers - 1}", 2, "a square being empty")


def last_mlp(s: Subject) -> Finding:
    """Claim 4: count features of legal moves in the last MLP."""
    return _last(s, "legal", f"mlp_out_{s.n_layers - 1}", 3, "a square being a legal move")


def few_features(s: Subject) -> Finding:
    """Claim 5: split logits of legal moves by module and by feature, and switch features off."""
    name = f"mlp_out_{s.n_layers - 1}"
    weights = s.places[name].weights
    final, wrote = s.rows("resid_final"), s.rows(name)
    legal = s.sample.legal[s.sample.asked].numpy()
    values = weights.encode(wrote)
    scale, unembed = _final_norm(s.model, final)
    modules = _modules(s)
    token = _one_legal(legal)
    read = unembed[token] * scale[:, None]
    by_module = {n: float(np.mean(((v - v.mean(1, keepdims=True)) * read).sum(1)))
                 for n, v in modules.items()}  # fmt: skip
    centred = weights.W_dec - weights.W_dec.mean(1, keepdims=True)
    parts = values * (read @ centred.T)
    order = -np.sort(-np.maximum(parts, 0), axis=1)
    total = np.maximum(order.sum(1), 1e-9)
    top = {k: float(np.mean(order[:, :k].sum(1) / total)) for k in (1, 5, 10)}
    last = by_module[name] / max(sum(by_module.values()), 1e-9)
    effect, control = _switch_off(s, name, token, values)
    return Finding(
        CLAIMS[4],
        f"Share of the logit of a legal move (minus the mean logit) that {name} writes, bar 50 %; "
        "share of what pushes it up that comes from the five strongest features, bar 50 %.",
        _worst([_verdict(last, 0.5), _verdict(top[5], 0.5)]),
        (
            f"{name} writes {last:.0%} of the logit; by module: "
            + ", ".join(f"{n} {v:.2f}" for n, v in by_module.items()) + ".",
            f"Of the positive contributions of its features the strongest gives {top[1]:.0%}, the "
            f"five strongest {top[5]:.0%}, the ten strongest {top[10]:.0%}.",
            "On the whole model, nothing held: with the strongest feature switched off the "
            f"probability of the move falls by {effect:.0%} of itself; with another feature that "
            f"is active there, by {control:.0%}.",
        ),
        ((f"written by {name}", last), ("strongest", top[1]), ("five strongest", top[5])),
    )  # fmt: skip


def _one_legal(legal: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Draw one legal move for every position."""
    noise = np.random.default_rng(0).random(legal.shape)
    return np.where(legal, noise, -1.0).argmax(1)


def _modules(s: Subject) -> dict[str, NDArray[np.float32]]:
    """Return everything that is written to the residual stream, [row, d_model] each."""
    names = ["embed", "position"]
    names += [f"{k}_{n}" for n in range(s.n_layers) for k in ("attn_out", "mlp_out")]
    return {name: s.rows(name) for name in names}


def _final_norm(
    model: GPT2LMHeadModel, final: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return 1 / std of the last norm, [row], and centred unembedding with its gain, [token, d]."""
    norm = model.transformer.ln_f
    scale = 1 / np.sqrt(final.astype(np.float64).var(1) + norm.eps)
    unembed = model.lm_head.weight.detach().double().numpy()
    return scale, (unembed - unembed.mean(0)) * norm.weight.detach().double().numpy()


@torch.no_grad()
def _switch_off(
    s: Subject, name: str, token: NDArray[np.int64], values: NDArray[np.float32]
) -> tuple[float, float]:
    """Switch off one feature per position and see what is left of the move's probability.

    Returns:
        The relative fall for the feature that pushes the move up most, and for another active one.
    """
    weights = s.places[name].weights
    final = s.rows("resid_final")
    scale, unembed = _final_norm(s.model, final)
    parts = values * ((unembed[token] * scale[:, None]) @ weights.W_dec.T)
    strongest = parts.argmax(1)
    noise = np.random.default_rng(1).random(values.shape) * (values > 0)
    noise[np.arange(len(noise)), strongest] = 0
    other = noise.argmax(1)
    rows = np.arange(len(token))

    def probability(feature: NDArray[np.int64] | None) -> NDArray[np.float64]:
        # The last MLP is read by the last norm alone, so the rest of the model runs from there.
        stream = final.copy()
        if feature is not None:
            stream -= values[rows, feature][:, None] * weights.W_dec[feature]
        logits = s.model.lm_head(s.model.transformer.ln_f(torch.from_numpy(stream)))
        return functional.softmax(logits.double(), -1).numpy()[rows, token]

    before = probability(None)
    return tuple(float(np.mean(1 - probability(f) / before)) for f in (strongest, other))  # type: ignore[return-value]


def sign_of_distance(s: Subject) -> Finding:
    """Claim 6: see whether board features copied by attention change sides with the distance."""
    agreed: dict[str, list[float]] = {"same square": [], "other square": []}
    bars = []
    for layer in range(1, s.n_layers - 1):
        target = s.places[f"attn_out_{layer}"]
        agreement = {name: np.zeros(2) for name in agreed}
        for source_name in (f"{k}_{n}" for n in range(layer) for k in ("attn_out", "mlp_out")):
            _copy_signs(s, layer, source_name, target, agreement)
        for name, (right, total) in agreement.items():
            agreed[name].append(float(right / total) if total else 0.5)
        bars.append((f"attention {layer}", agreed["same square"][-1]))
    same, other = (float(np.mean(agreed[name])) for name in agreed)
    return Finding(
        CLAIMS[5],
        "Contributions through OV from mine/theirs features to mine/theirs features of the same "
        "square, by token distance: share of their absolute sum whose sign is as the rule says "
        "(even keeps, odd turns; chance 50 %), mean over layers 1 to 4, bar 75 %.",
        "holds" if same >= 0.75 else "holds in part" if same >= 0.6 else "does not hold",
        (
            f"Same square: {same:.0%}; other squares, as a control: {other:.0%}.",
            "By layer: " + ", ".join(f"{n} {v:.0%}" for n, v in bars) + ".",
        ),
        tuple(bars),
    )


def _copy_signs(
    s: Subject, layer: int, source_name: str, target: Place, agreement: dict[str, NDArray]
) -> None:
    """Add what one dictionary's board features give to those of a layer's attention.

    `agreement` gains, for features of the same and of other squares, the sum of absolute
    contributions with the sign of the rule, and of all.
    """
    source, facts = s.places[source_name], s.facts
    rows_s = source.of_kind(facts, "mine", "theirs")
    rows_t = target.of_kind(facts, "mine", "theirs")
    if not len(rows_s) or not len(rows_t):
        return
    unit_s, unit_t = source.meaning.unit[rows_s], target.meaning.unit[rows_t]
    first_s, first_t = source.meaning.first[rows_s], target.meaning.first[rows_t]
    same_square = facts.squares[first_s][:, None] == facts.squares[first_t]
    same_side = facts.kinds[first_s][:, None] == facts.kinds[first_t]
    asked = s.sample.asked.numpy()
    fires = np.zeros((*asked.shape, len(unit_t)), np.float32)
    fires[asked] = target.weights.encode(s.rows(f"attn_out_{layer}"))[:, unit_t] > 0
    active = np.zeros((*asked.shape, len(unit_s)), np.float32)
    active[asked] = source.weights.encode(s.rows(source_name))[:, unit_s]
    active /= np.sqrt(s.read(f"resid_pre_{layer}").var(-1) + 1e-5)[..., None]
    pattern = s.read(f"pattern_{layer}")
    n = pattern.shape[-1]
    odd = (np.subtract.outer(np.arange(n), np.arange(n)) % 2).astype(bool)
    for head in range(pattern.shape[1]):
        ov = _ov(
            s.model, layer, head, source.weights.W_dec[unit_s], target.weights.W_enc[:, unit_t]
        )
        for parity in (False, True):
            near = pattern[:, head] * (odd == parity)
            moved = np.einsum("gqk,gks->gqs", near, active, optimize=True)
            # [source, target]: attention-weighted activation where the target fires.
            amount = np.einsum("gqs,gqt->st", moved, fires, optimize=True)
            wanted = np.where(same_side != parity, 1.0, -1.0)
            for name, mask in (("same square", same_square), ("other square", ~same_square)):
                given = amount * ov * mask
                agreement[name] += (np.abs(given)[given * wanted > 0].sum(), np.abs(given).sum())


def _ov(
    model: GPT2LMHeadModel,
    layer: int,
    head: int,
    decoder: NDArray[np.float32],
    encoder: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Return what a unit of each source gives each target through a head, [source, target]."""
    block = model.transformer.h[layer]
    d = model.config.n_embd
    size = d // model.config.n_head
    at = slice(2 * d + head * size, 2 * d + (head + 1) * size)
    value = block.attn.c_attn.weight.detach().double().numpy()[:, at]
    output = block.attn.c_proj.weight.detach().double().numpy()[head * size : (head + 1) * size]
    gain = block.ln_1.weight.detach().double().numpy()
    centred = decoder - decoder.mean(1, keepdims=True)
    return ((centred * gain) @ value) @ (output @ encoder)


def interleaved(s: Subject) -> Finding:
    """Claim 7: find heads that attend to every second move, and split their scores by source."""
    lines, bars, shares = [], [], []
    for layer in range(s.n_layers):
        pattern = s.read(f"pattern_{layer}")
        n = pattern.shape[-1]
        query, key = np.nonzero(np.tri(n, k=-1, dtype=bool))
        odd = (query - key) % 2 == 1
        asked = s.sample.asked.numpy()[:, query]
        for head in range(pattern.shape[1]):
            mass = pattern[:, head][:, query, key] * asked
            share = float(mass[:, odd].sum() / mass.sum())
            if max(share, 1 - share) < 0.8:
                continue
            split = _split_contrast(s, layer, head)
            total = sum(split.values())
            named = sum(split[k] for k in split if "token" not in k) / total
            shares.append(named)
            side = "the opponent's" if share > 0.5 else "one's own"
            bars.append((f"{layer}.{head}", max(share, 1 - share)))
            lines.append(
                f"Head {layer}.{head} attends to {side} moves ({max(share, 1 - share):.0%} of its "
                f"attention to earlier moves). Contrast of scores between them and the others: "
                + ", ".join(f"{k} {v / total:.0%}" for k, v in split.items()) + "."
            )  # fmt: skip
    found = len(bars)
    named = float(np.mean(shares)) if shares else 0.0
    return Finding(
        CLAIMS[6],
        "Heads that give 80 % of their attention to earlier moves to every second one: at least "
        "one; the score's contrast between odd and even distances, split into products of sources "
        "(position, token embedding, what earlier modules wrote): share without the token "
        "embedding, bar 75 %.",
        "does not hold" if not found else _verdict(named, 0.75),
        (f"{found} heads; share through position and earlier features: {named:.0%}.", *lines),
        tuple(bars),
    )


def _split_contrast(s: Subject, layer: int, head: int) -> dict[str, float]:
    """Split a head's mean score at odd minus even distance by the sources of query and key."""
    block = s.model.transformer.h[layer]
    d, size = s.model.config.n_embd, s.model.config.n_embd // s.model.config.n_head
    weight = block.attn.c_attn.weight.detach().double().numpy()
    gain = block.ln_1.weight.detach().double().numpy()
    stream = s.read(f"resid_pre_{layer}")
    scale = 1 / np.sqrt(stream.var(-1, keepdims=True) + 1e-5)
    wrote = {"position": s.read("position"), "token": s.read("embed")}
    wrote["features"] = stream - wrote["position"] - wrote["token"]
    if layer == 0:
        del wrote["features"]
    at = slice(head * size, (head + 1) * size)

    def project(values: NDArray, first: int) -> NDArray[np.float64]:
        centred = (values - values.mean(-1, keepdims=True)) * scale * gain
        return centred @ weight[:, first : first + d][:, at]

    queries = {name: project(v, 0) for name, v in wrote.items()}
    keys = {name: project(v, d) for name, v in wrote.items()}
    n = stream.shape[1]
    below = np.tri(n, k=-1, dtype=bool)
    odd = (np.subtract.outer(np.arange(n), np.arange(n)) % 2).astype(bool)
    asked = s.sample.asked.numpy()
    split = {}
    for q, query in queries.items():
        for k, key in keys.items():
            score = np.einsum("gqh,gkh->gqk", query, key, optimize=True)[asked]
            row = np.nonzero(asked)[1]
            inside, is_odd = below[row], odd[row]
            contrast = score[inside & is_odd].mean() - score[inside & ~is_odd].mean()
            split[f"{q} x {k}"] = float(contrast)
    return split


def by_depth(s: Subject) -> Finding:
    """Claim 8: fit linear probes at every depth and see when each fact can be read."""
    facts = list_facts(s.games)
    half = len(facts.true) // 2
    depths = [f"resid_pre_{layer}" for layer in range(s.n_layers)] + ["resid_final"]
    kinds = ("move", "turn", "flipped", "mine", "theirs", "empty", "legal")
    scores = {kind: [_probe(s.rows(name), facts.true[:, facts.kinds == kind], half)
                     for name in depths] for kind in kinds}  # fmt: skip
    reach = {}
    for kind, curve in scores.items():
        wanted = 0.9 * max(curve)
        reach[kind] = next(i for i, value in enumerate(curve) if value >= wanted)
    local, board, legal = (
        max(reach[k] for k in group) for group in (("move", "turn"), ("mine", "theirs"), ("legal",))
    )
    ordered = [local <= board, board <= legal, local < legal]
    return Finding(
        CLAIMS[7],
        "Linear probes (ridge) for every fact at the input of every layer and at the end, variance "
        "explained on fresh games; the depth at which 90 % of the best is reached. Bar: move and "
        "turns no later than mine and theirs, these no later than legal moves, the first before "
        "the last.",
        "holds" if all(ordered) else "holds in part" if sum(ordered) == 2 else "does not hold",
        tuple(
            f"{kind}: " + ", ".join(f"{v:.2f}" for v in curve)
            + f" (90 % of the best at {depths[reach[kind]]})."
            for kind, curve in scores.items()
        ),
        tuple((kind, (reach[kind]) / (len(depths) - 1)) for kind in kinds),
    )  # fmt: skip


def _probe(stream: NDArray[np.float32], true: NDArray[np.bool_], half: int) -> float:
    """Return the mean variance explained, over facts that occur, by ridge regression."""
    occurs = (true[:half].mean(0) > 0.002) & (true[half:].mean(0) > 0.002)
    wanted = true[:, occurs].astype(np.float64)
    x = np.concatenate([stream, np.ones((len(stream), 1), np.float32)], 1).astype(np.float64)
    x = x / np.maximum(x[:half].std(0), 1e-6)
    gram = x[:half].T @ x[:half] + 1e-3 * half * np.eye(x.shape[1])
    told = x[half:] @ np.linalg.solve(gram, x[:half].T @ wanted[:half])
    wrong = np.square(wanted[half:] - told).sum(0)
    spread = np.square(wanted[half:] - wanted[half:].mean(0)).sum(0)
    return float(np.mean(np.maximum(0.0, 1 - wrong / spread)))


def examine(s: Subject) -> list[Finding]:
    """Test the eight claims in order."""
    tests = (first_layer, middle_layers, last_attention, last_mlp, few_features,
             sign_of_distance, interleaved, by_depth)  # fmt: skip
    return [test(s) for test in tests]
