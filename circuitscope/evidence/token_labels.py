"""Labels that say what a feature does to the next token, and those that say both when and what.

Output-centric labels name tokens (Gur-Arieh et al. 2025, arXiv:2501.08319): those that the
feature's decoder row promotes through the unembedding, and those that become likelier when the
feature is raised while the model runs. Their score comes from contexts that took no part in
choosing: the share of all other tokens whose log-probability rises less than a named token's does.
Chance is 0.5.

An ensemble joins the best label of when a feature fires with the best of what it does; its score is
the mean of both, and it is only made where both say something.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from circuitscope.evidence.labelling import LEAST_SCORE
from circuitscope.evidence.records import Label

PROJECTION = "vocabulary projection"
CHANGE = "token change under steering"
ENSEMBLE = "ensemble"
OUTPUT, INPUTS, BOTH = "output", ("detection", "F1"), "input and output"
NAMED = 5
"""Most tokens that a label names."""


def named_tokens(ids: Sequence[int], rises: Sequence[float]) -> tuple[int, ...]:
    """Return the tokens that a label names: those that rise at least half as much as the first.

    Args:
        ids: Tokens, the one that rises most first.
        rises: By how much each does.
    """
    least = rises[0] / 2 if len(rises) else 0.0
    pairs = zip(ids, rises, strict=True)
    return tuple(token for token, rise in pairs if rise > 0 and rise >= least)[:NAMED]


def rank_score(changes: NDArray[np.floating], tokens: Sequence[int]) -> float:
    """Return the share of other tokens whose log-probability rises less than the named ones' do.

    Args:
        changes: Of every token on each held-out context, [context, d_vocab].
        tokens: The label.
    """
    others = max(changes.shape[1] - 1, 1)
    shares = []
    for token in tokens:
        own = changes[:, token, None]
        ties = (changes == own).sum(1) - 1
        shares.append((((changes < own).sum(1) + ties / 2) / others).mean())
    return float(np.mean(shares)) if shares else 0.0


def token_label(
    method: str,
    tokens: Sequence[int],
    changes: NDArray[np.floating],
    text: Callable[[int], str],
) -> Label | None:
    """Return a label that names tokens, with its score; None where it says too little.

    Args:
        method: How the tokens were chosen.
        tokens: The tokens.
        changes: What steering does on held-out contexts, [context, d_vocab].
        text: Of a token.
    """
    score = rank_score(changes, tokens)
    if not tokens or score < LEAST_SCORE:
        return None
    own = changes[:, list(tokens)]
    detail = {"raised": round(float((own > 0).mean()), 4), "change": round(float(own.mean()), 4)}
    said = ", ".join(f"“{text(token).strip() or text(token)}”" for token in tokens)
    return Label(f"raises {said}", method, "machine", round(score, 4), OUTPUT, detail=detail)


def with_ensemble(labels: Sequence[Label]) -> list[Label]:
    """Return a feature's labels with the ensemble made anew from the others."""
    others = [label for label in labels if not is_ensemble(label)]
    scored = [
        label for label in others
        if label.source == "machine" and (label.score or 0.0) >= LEAST_SCORE
    ]  # fmt: skip
    when = [label for label in scored if label.scored_by in INPUTS]
    what = [label for label in scored if label.scored_by == OUTPUT]
    if not when or not what:
        return others
    first, second = (max(found, key=lambda one: one.score or 0.0) for found in (when, what))
    score = round(((first.score or 0.0) + (second.score or 0.0)) / 2, 4)
    detail = {first.scored_by: first.score or 0.0, OUTPUT: second.score or 0.0}
    method = f"{ENSEMBLE} of {first.method} and {second.method}"
    made = Label(f"{first.text} → {second.text}", method, "machine", score, BOTH, detail=detail)
    return [*others, made]


def is_ensemble(label: Label) -> bool:
    """Say whether a label is joined from others."""
    return label.source == "machine" and label.method.startswith(ENSEMBLE)
