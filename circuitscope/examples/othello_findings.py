"""Test on our Othello-GPT what He et al. (2024, arXiv 2402.12201) found in theirs.

Each claim has a question, numbers and a bar that was set before the numbers were seen. "Holds" is
above the bar, "holds in part" above its half (or for a part of the places named, or where the
telling facts of features are above it instead of their rules), else "does not hold". Telling facts
came in after a first run had shown few good rules: they can only lift a claim to "in part", and
claim 6, whose features they choose, "does not hold" with features chosen by rules. Claims 1 to 4
count the rules of `othello_evidence`; 5 to 7 are arithmetic on frozen forward passes (6 and 7 in
`othello_attention`), 5 with a test on the unfrozen model beside it; 8 asks linear probes.

Positions: 17 700 to choose rules and as many to measure them; 12 000 fresh ones for the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from circuitscope.examples.othello_attention import (
    INTERLEAVED,
    SIGN,
    interleaved,
    sign_of_distance,
)
from circuitscope.examples.othello_evidence import Facts, list_facts
from circuitscope.examples.othello_subject import Finding, Place, Subject, judge

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import GPT2LMHeadModel

__all__ = ["CLAIMS", "examine", "kind_shares"]

CLAIMS = (
    "Layer 0 holds the current move, and moves that turn discs in one direction",
    "The middle layers hold the board as mine and theirs",
    "The last attention holds which squares are empty",
    "The last MLP holds which moves are legal",
    "A logit comes from few, specialised features of the last MLP",
    SIGN,
    INTERLEAVED,
    "By depth: the move and what it turns, then the board, then what is legal",
)


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


def _shares(s: Subject, *kinds: str) -> dict[str, float]:
    """Return, for every output by depth, the share of features whose rule is of some kinds."""
    return _counted(s, lambda place: place.of_kind(s.facts, *kinds))


def _telling(s: Subject, *kinds: str) -> dict[str, float]:
    """Return, for every output by depth, the share of features that tell of some kinds."""
    return _counted(s, lambda place: place.telling_of(s.facts, *kinds))


def _counted(s: Subject, chosen: Callable[[Place], NDArray[np.int64]]) -> dict[str, float]:
    places = {name: s.places[name] for name in s.outputs}
    return {n: len(chosen(p)) / max(1, len(p.meaning.unit)) for n, p in places.items()}


def _list(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {share:.0%}" for name, share in shares.items())


def first_layer(s: Subject) -> Finding:
    """Claim 1: count features of the current move and of turns in one direction."""
    attention, mlp = s.places["attn_out_0"], s.places["mlp_out_0"]
    moves = _shares(s, "move", "turn")["attn_out_0"]
    own = kind_shares(mlp, s.facts)
    told = _telling(s, "move", "turn", "flipped")
    turns = mlp.of_kind(s.facts, "turn", "flipped")
    m = mlp.meaning
    one_way = float(np.mean(m.direction_f1[turns] > m.flipped_f1[turns])) if len(turns) else 0.0
    covered = len(set(s.facts.squares[m.first[mlp.of_kind(s.facts, "turn")]].tolist()))
    return Finding(
        CLAIMS[0],
        "Share of alive features of attn_out_0 whose best rule (F1 >= 0.7) is the square just "
        "played, bar 50 %; of the features of mlp_out_0 about turned discs, the share told better "
        "by a move that turns in one direction than by a turned square, bar 50 %.",
        _worst([judge(moves, 0.5, told["attn_out_0"]), judge(one_way, 0.5)]),
        (
            f"attn_out_0: {moves:.0%} of {len(attention.meaning.unit)} alive features are about "
            "the square just played.",
            f"mlp_out_0: {own['turn']:.0%} of {len(m.unit)} alive features are a move that turns "
            f"discs in one direction (moves at {covered} of 60 squares), {own['flipped']:.0%} a "
            f"turned square, {own['move']:.0%} the square just played.",
            f"Of the {len(turns)} features about turned discs, {one_way:.0%} are told better by "
            "one direction than by a square.",
            f"By telling facts of the move and what it turns: {_list(told)}.",
        ),
    )


def middle_layers(s: Subject) -> Finding:
    """Claim 2: count features of mine and theirs from the attention of layer 1 to MLP 4."""
    shares, told = _shares(s, "mine", "theirs"), _telling(s, "mine", "theirs")
    middle = {n: v for n, v in shares.items() if 0 < int(n.rpartition("_")[2]) < s.n_layers - 1}
    ends_ = {n: v for n, v in shares.items() if n not in middle}
    share = float(np.mean(list(middle.values())))
    telling = float(np.mean([told[name] for name in middle]))
    return Finding(
        CLAIMS[1],
        "Share of alive features whose best rule (F1 >= 0.7) is a square being mine or theirs, "
        "mean over the eight outputs of layers 1 to 4, bar 50 %.",
        judge(share, 0.5, telling),
        (
            f"Mean over layers 1 to {s.n_layers - 2}: {share:.0%}; over the first and the last "
            f"layer: {np.mean(list(ends_.values())):.0%}.",
            f"By output: {_list(shares)}.",
            f"By telling facts, mean over the middle {telling:.0%}: {_list(told)}.",
        ),
    )


def _last(s: Subject, kind: str, name: str, number: int, words: str) -> Finding:
    shares, told = _shares(s, kind), _telling(s, kind)
    share = shares[name]
    place = s.places[name]
    rows = place.of_kind(s.facts, kind)
    squares = len(set(s.facts.squares[place.meaning.first[rows]].tolist()))
    return Finding(
        CLAIMS[number],
        f"Share of alive features of {name} whose best rule (F1 >= 0.7) is {words}, bar 50 %.",
        judge(share, 0.5, told[name]),
        (
            f"{name}: {share:.0%} of {len(place.meaning.unit)} alive features, for {squares} of "
            "60 squares.",
            f"By output: {_list(shares)}.",
            f"By telling facts: {_list(told)}.",
        ),
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
        _worst([judge(last, 0.5), judge(top[5], 0.5)]),
        (
            f"{name} writes {last:.0%} of the logit; by module: "
            + ", ".join(f"{n} {v:.2f}" for n, v in by_module.items()) + ".",
            f"Of the positive contributions of its features the strongest gives {top[1]:.0%}, the "
            f"five strongest {top[5]:.0%}, the ten strongest {top[10]:.0%}.",
            "On the whole model, nothing held: with the strongest feature switched off the "
            f"probability of the move falls by {effect:.0%} of itself; with another feature that "
            f"is active there, by {control:.0%}.",
        ),
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
    fall, control = (float(np.mean(1 - probability(f) / before)) for f in (strongest, other))
    return fall, control


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
    )  # fmt: skip


def _probe(stream: NDArray[np.float32], true: NDArray[np.bool_], half: int) -> float:
    """Return the mean variance explained, over facts that occur, by ridge regression."""
    occurs = (true[:half].mean(0) > 0.002) & (true[half:].mean(0) > 0.002)
    wanted = true[:, occurs].astype(np.float64)
    x = stream.astype(np.float64)
    x = (x - x[:half].mean(0)) / np.maximum(x[:half].std(0), 1e-9)
    mean = wanted[:half].mean(0)
    gram = x[:half].T @ x[:half] + 1e-3 * half * np.eye(x.shape[1])
    told = mean + x[half:] @ np.linalg.solve(gram, x[:half].T @ (wanted[:half] - mean))
    wrong = np.square(wanted[half:] - told).sum(0)
    spread = np.square(wanted[half:] - wanted[half:].mean(0)).sum(0)
    return float(np.mean(np.maximum(0.0, 1 - wrong / spread)))


def examine(s: Subject) -> list[Finding]:
    """Test the eight claims in order."""
    tests = (first_layer, middle_layers, last_attention, last_mlp, few_features,
             sign_of_distance, interleaved, by_depth)  # fmt: skip
    return [test(s) for test in tests]
