"""The heads behind a logit, by contextual decomposition (Hsu et al. 2025, arXiv 2407.00886).

Question: which attention heads is this answer made by, through whatever they pass on?

1. Decompose the prompt once for every head: r = what follows from the head, i = the rest.
2. Take the heads most relevant for the target; then those most relevant for these, layer by layer
   down (`tracing.discovery`, Algorithm 1), pruning heads whose removal helps.
3. Draw an edge for each relevance: all paths together, so no row adds up, and the sum of the parts
   is shown beside the whole.

Nothing is frozen: patterns of the relevant part are its own. Ignored: the first-order change of
attention by a small part, which sees a uniform pattern. Heads that are left out hold 0, or the
means given. One prompt is one prompt: `discover` in Python takes many, and others to evaluate on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from circuitscope.core.anatomy import ModelAnatomy
from circuitscope.core.circuit import Circuit
from circuitscope.core.dictionary import DictionaryCard
from circuitscope.core.errors import TraceError
from circuitscope.core.metrics import Metric
from circuitscope.core.progress import Progress
from circuitscope.core.settings import Direction, Logit, LogitDifference, TraceSettings
from circuitscope.models.drafting import known_architectures
from circuitscope.models.prompts import read_prompt
from circuitscope.tracing.discovery import Search, discover_units
from circuitscope.tracing.method import Refusal
from circuitscope.tracing.relevance import Reading, whole_logits
from circuitscope.tracing.relevance_circuit import as_circuit, metric_root
from circuitscope.tracing.run import Clock
from circuitscope.tracing.splitting import every_position, open_decomposer

if TYPE_CHECKING:
    from circuitscope.dictionaries.dictionary import Dictionary
    from circuitscope.models.loading import LoadedModel

N_HEADS = 12


class Contextual:
    """Explain a target by the heads it depends on."""

    title = "Contextual decomposition (heads)"
    settings_type = TraceSettings

    def requires(
        self, anatomy: ModelAnatomy, cards: Sequence[DictionaryCard], settings: TraceSettings
    ) -> Refusal | None:
        """Say why it cannot run on this model; None where it can."""
        if anatomy.architecture not in known_architectures():
            return Refusal(
                f"Contextual decomposition does not know the operations of {anatomy.architecture}.",
                f"It knows {', '.join(known_architectures())}.",
            )
        others = [
            t for t in settings.targets if not isinstance(t, (Logit, LogitDifference, Direction))
        ]
        if others or len(settings.targets) != 1:
            return Refusal(
                "Contextual decomposition explains one logit, difference or direction at a time.",
                "Choose one word, or one word against another.",
            )
        return None

    def run(
        self,
        model: LoadedModel,
        dictionaries: Sequence[Dictionary],
        settings: TraceSettings,
        progress: Progress,
    ) -> Circuit:
        """Compute a circuit of heads."""
        clock = Clock()
        prompt = read_prompt(model, settings.prompt)
        progress.phase("Forward pass", 1)
        metric, weight = _metric(model, prompt.token_ids, settings.targets[0])
        progress.advance()
        most = N_HEADS if settings.max_nodes is None else max(1, min(N_HEADS, settings.max_nodes))
        found, faithful, cases = discover_units(
            model, [prompt.token_ids], metric, Search(n_heads=most),
            ablation="zero" if settings.means is None else "mean", means=settings.means,
            weights=settings.weights, progress=progress,
        )  # fmt: skip
        root = replace(metric_root(model, metric, cases[0].meter.position), weight=weight)
        scores = {"faithfulness": faithful, "n_prompts": 1.0}
        return as_circuit(model, prompt.token_ids, found, root, settings.as_json(), scores, clock)


def _metric(model: LoadedModel, token_ids: Sequence[int], target: object) -> tuple[Metric, float]:
    """Return a metric and its root's weight; logit:top is the likeliest token."""
    if not isinstance(target, (Logit, LogitDifference, Direction)):
        raise TraceError(f"{target!r} cannot be explained by heads.")
    if not isinstance(target, Logit):
        return target, 1.0
    one = open_decomposer(model, token_ids)
    at = every_position(one.totals.blueprint, one.n_pos)[target.position]
    with torch.no_grad():
        logits = whole_logits(one.totals, Reading((at,)))[0].double()
    token: str | int = int(logits.argmax()) if target.token is None else target.token
    found = model.find_token(token) if one.totals.blueprint.readout.position is None else token
    share = logits.softmax(-1)
    weight = float(share[found]) if isinstance(found, int) else 1.0
    return Logit(found, target.position), weight
