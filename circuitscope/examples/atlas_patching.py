"""Contextual decomposition beside activation patching, on the atlas model's indirect objects.

Question: do relevances of heads at positions agree with what patching every one of them does?

1. Draw sentences such as "when Mary and John went to the shop , John gave a book to" of each
   template; the metric is the logit of the indirect object minus that of the subject.
2. Decompose the prompt by every head at every position: its relevance for the metric.
3. Patch every head at every position of the real module, one run each: its z becomes 0, or its mean
   over the template's sentences. The effect is the metric before minus the metric after.
4. Compare over all head-positions: Spearman's correlation of sizes; ROC AUC of relevances against
   the head-positions whose effect is at least 5 % of the metric; how many of these agree in sign.

Run with `python -m circuitscope.examples.atlas_patching`.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

import circuitscope as cs
from circuitscope.core.agreement import area_under_curve, spearman
from circuitscope.core.shipped import shipped_path
from circuitscope.examples import atlas

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel

log = logging.getLogger(__name__)
STRONG = 0.05
"""Least share of the metric that a patch must change for its head-position to count."""
Ablation = Literal["zero", "mean"]


@dataclass(frozen=True, slots=True)
class Sentence:
    """A prompt, who is given something, and who gives."""

    prompt: str
    indirect: str
    subject: str


def draw(n: int, seed: int = 0) -> dict[str, list[Sentence]]:
    """Draw n sentences of each template, named by its first word that is no name."""
    found: dict[str, list[Sentence]] = {}
    for example in atlas.examples("indirect_object", seed, 60 * n):
        words = example.prompt.split()
        template = next(word for word in words if word.islower())
        subject = [word for word in words if not word.islower() and word.isalpha()][-1]
        rows = found.setdefault(template, [])
        if len(rows) < n:
            rows.append(Sentence(example.prompt, example.answer, subject))
    return found


def relevances(
    model: LoadedModel, one: Sentence, ablation: Ablation, means: cs.MeanActivations | None
) -> NDArray[np.float64]:
    """Return each head-position's relevance for the metric, [layer, position, head]."""
    n_pos = len(model.prompt(one.prompt).token_ids)
    shape = (model.anatomy.n_layers, n_pos, model.anatomy.n_heads)
    sets = [[cs.Head(layer, head, at)] for layer, at, head in np.ndindex(shape)]
    tokens = [one.indirect, one.subject]
    split = cs.decompose(model, one.prompt, sets, ablation, means, positions=[-1], tokens=tokens)
    return (split.relevant[:, 0, 0] - split.relevant[:, 0, 1]).astype(float).reshape(shape)


def effects(
    model: LoadedModel, one: Sentence, ablation: Ablation, means: cs.MeanActivations | None
) -> tuple[NDArray[np.float64], float]:
    """Return what patching each head-position takes from the metric, and the metric itself."""
    n_pos = len(model.prompt(one.prompt).token_ids)
    ids = [model.find_token(one.indirect), model.find_token(one.subject)]
    out = np.zeros((model.anatomy.n_layers, n_pos, model.anatomy.n_heads))

    def metric(change: list[cs.Intervention]) -> float:
        logits = model.run(one.prompt, change).logits[-1].astype(float)
        return float(logits[ids[0]] - logits[ids[1]])

    whole = metric([])
    for layer, at, head in np.ndindex(out.shape):
        change = cs.Intervention("head_z", layer, head=head, positions=[at], mode="zero")
        if ablation == "mean":
            assert means is not None
            held = means.z[layer, at, head] if means.by_position else means.z[layer, head]
            change = cs.Intervention(
                "head_z", layer, head=head, positions=[at], mode="set", value=held
            )
        out[layer, at, head] = whole - metric([change])
    return out, whole


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table.

    Attributes:
        n_units: Head-positions compared; n_strong: those whose effect counts.
    """

    template: str
    ablation: str
    n_units: int
    n_strong: int
    spearman: float
    auc: float
    same_sign: float


def compare(
    model: LoadedModel, template: str, sentences: list[Sentence], ablation: Ablation
) -> Row:
    """Compare both over the sentences of one template, averaged."""
    means = None
    if ablation == "mean":
        means = cs.mean_activations(model, [one.prompt for one in sentences])
    relevance = np.mean([relevances(model, one, ablation, means) for one in sentences], axis=0)
    found = [effects(model, one, ablation, means) for one in sentences]
    effect = np.mean([one for one, _ in found], axis=0)
    whole = float(np.mean([one for _, one in found]))
    strong = np.abs(effect) >= STRONG * abs(whole)
    same = np.sign(relevance[strong]) == np.sign(effect[strong])
    return Row(
        template, ablation, effect.size, int(strong.sum()),
        spearman(np.abs(relevance).ravel(), np.abs(effect).ravel()),
        area_under_curve(np.abs(relevance).ravel(), strong.ravel()),
        float(same.mean()) if strong.any() else float("nan"),
    )  # fmt: skip


def main() -> None:
    """Print the table."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description="Compare relevances with activation patching.")
    parser.add_argument("--sentences", type=int, default=8, help="sentences of each template")
    chosen = parser.parse_args()
    model = cs.load_model(shipped_path("projects", "atlas", "model"), device="cpu")
    log.info("| template | ablation | head-positions | effect >= 5 %% | Spearman | AUC | sign |")
    log.info("|---|---|---|---|---|---|---|")
    ablations: tuple[Ablation, ...] = ("zero", "mean")
    for template, sentences in draw(chosen.sentences).items():
        for ablation in ablations:
            row = compare(model, template, sentences, ablation)
            log.info(
                "| %s | %s | %d | %d | %.2f | %.3f | %.0f %% |", row.template, row.ablation,
                row.n_units, row.n_strong, row.spearman, row.auc, 100 * row.same_sign,
            )  # fmt: skip


if __name__ == "__main__":
    main()
