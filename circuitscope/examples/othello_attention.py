"""Test what He et al. say of attention in Othello-GPT: claims 6 and 7 of `othello_findings`.

Both are arithmetic on frozen forward passes: contributions through OV between features that are
named by their board rules, and scores split into products of what query and key are made of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from circuitscope.examples.othello_subject import Finding, Place, Subject, judge

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import GPT2LMHeadModel

__all__ = ["INTERLEAVED", "SIGN", "interleaved", "sign_of_distance"]

SIGN = "Attention copies the board with a sign: odd token distance turns mine into theirs"
INTERLEAVED = (
    "Heads that attend to own or to the opponent's moves do so through position and colour"
)


def sign_of_distance(s: Subject) -> Finding:
    """Claim 6: see whether board features copied by attention change sides with the distance."""
    agreed: dict[str, list[float]] = {"same square": [], "other square": []}
    by_layer = []
    for layer in range(1, s.n_layers - 1):
        target = s.places[f"attn_out_{layer}"]
        agreement = {name: np.zeros(2) for name in agreed}
        for source_name in (f"{k}_{n}" for n in range(layer) for k in ("attn_out", "mlp_out")):
            _copy_signs(s, layer, source_name, target, agreement)
        for name, (right, total) in agreement.items():
            agreed[name].append(float(right / total) if total else 0.5)
        by_layer.append(f"attention {layer} {agreed['same square'][-1]:.0%}")
    same, other = (float(np.mean(agreed[name])) for name in agreed)
    return Finding(
        SIGN,
        "Contributions through OV from features that tell of mine or theirs to such features of "
        "the same square, by token distance: share of their absolute sum whose sign is as the "
        "rule says (even keeps, odd turns; chance 50 %), mean over layers 1 to 4, bar 75 %.",
        "holds" if same >= 0.75 else "holds in part" if same >= 0.6 else "does not hold",
        (
            f"Same square: {same:.0%}; other squares, as a control: {other:.0%}.",
            f"By layer: {', '.join(by_layer)}.",
        ),
    )


def _copy_signs(
    s: Subject, layer: int, source_name: str, target: Place, agreement: dict[str, NDArray]
) -> None:
    """Add what one dictionary's board features give to those of a layer's attention.

    `agreement` gains, for features of the same and of other squares, the sum of absolute
    contributions with the sign of the rule, and of all.
    """
    source, facts = s.places[source_name], s.facts
    rows_s = source.telling_of(facts, "mine", "theirs")
    rows_t = target.telling_of(facts, "mine", "theirs")
    if not len(rows_s) or not len(rows_t):
        return
    unit_s, unit_t = source.meaning.unit[rows_s], target.meaning.unit[rows_t]
    first_s, first_t = source.meaning.telling[rows_s], target.meaning.telling[rows_t]
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
    lines, found = [], 0
    sums: dict[str, float] = {}
    for layer in range(s.n_layers):
        pattern = s.read(f"pattern_{layer}")
        n = pattern.shape[-1]
        query, key = np.nonzero(np.tri(n, k=-1, dtype=bool))
        odd = (query - key) % 2 == 1
        asked = s.sample.asked.numpy()[:, query]
        mass = pattern[:, :, query, key] * asked[:, None]
        share = mass[..., odd].sum((0, 2)) / mass.sum((0, 2))
        one_sided = np.flatnonzero(np.maximum(share, 1 - share) >= 0.8)
        found += len(one_sided)
        split: dict[str, float] = {}
        for head in one_sided.tolist():
            contrast = _split_contrast(s, layer, head)
            total = sum(contrast.values())
            for name, value in contrast.items():
                split[name] = split.get(name, 0.0) + value / total
        if len(one_sided):
            lines.append(
                f"Layer {layer}: {int((share[one_sided] > 0.5).sum())} heads look at the "
                f"opponent's moves, {int((share[one_sided] < 0.5).sum())} at one's own; their "
                "contrast: "
                + ", ".join(f"{k} {v / len(one_sided):.0%}" for k, v in split.items()
                            if abs(v) / len(one_sided) >= 0.005) + "."
            )  # fmt: skip
        for name, value in split.items():
            sums[name] = sums.get(name, 0.0) + value
    named = sum(v for k, v in sums.items() if "token" not in k) / max(1, found)
    return Finding(
        INTERLEAVED,
        "Heads that give 80 % of their attention to earlier moves to every second one: at least "
        "one; the score's contrast between odd and even distances, split into products of sources "
        "(position, token embedding, what earlier modules wrote): share without the token "
        "embedding, bar 75 %.",
        "does not hold" if not found else judge(named, 0.75),
        (
            f"{found} of {s.n_layers * s.model.config.n_head} heads; share through position and "
            f"earlier features: {named:.0%}.",
            *lines,
        ),
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
