"""Attribution graphs with transcoders (Ameisen et al. 2025; circuit-tracer 0.4.1).

Question: which transcoder features, over all layers between, produced this logit?

1. Run the prompt once. Freeze attention patterns, norm denominators and feature activations; the
   residual stream is then linear in what the parts write.
2. Break every MLP's output into its transcoder's features, their error and constants; features of
   a cross-layer transcoder write to all later layers. Attention passes effects on through its
   frozen pattern, skips of transcoders through W_skip; attention with a dictionary of its own is
   broken into features, and paths end there.
3. Targets are logits less their mean over the vocabulary, before any soft cap, or the
   pre-activations of features.
4. The edge from a source to a target is what the source writes times the direction the target
   reads, pulled down through everything that passes effects on.
5. Do the same for every node, strongest influence first until the budget is spent.
6. Every row must add up to its pre-activation; what is not kept as a node is summed apart.

Under circuit-tracer's conventions the prompt gets its first token, the MLPs' first position and
all constants are no nodes, and the budget is spent in rounds of update_interval * batch_size rows.

Frozen: patterns and denominators, so an edge does not say why attention looked where it did. The
MLPs' own computation is ignored: what transcoders do not rebuild is in error nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from circuitscope.core.anatomy import ModelAnatomy
from circuitscope.core.circuit import Circuit
from circuitscope.core.dictionary import DictionaryCard
from circuitscope.core.progress import Progress
from circuitscope.core.settings import Logit, TraceSettings
from circuitscope.models.prompts import read_prompt
from circuitscope.tracing.expansion import Budget, expand_strongest
from circuitscope.tracing.finish import finish, grown_rows, rows_of
from circuitscope.tracing.memory import REFERENCE_BATCH
from circuitscope.tracing.method import Refusal, cards_of
from circuitscope.tracing.plan import causal_refusal, fitted, refusal
from circuitscope.tracing.run import Clock, Run, open_run

if TYPE_CHECKING:
    from circuitscope.dictionaries.dictionary import Dictionary
    from circuitscope.models.loading import LoadedModel

_MOST_STEP = 128
_REMARK = (
    "Logits are explained less their mean over the vocabulary and before any soft cap; edges pass "
    "through attention, whose patterns are fixed."
)
_BANNER = "Most of this logit is carried by parts the dictionaries do not explain ({share:.0%})."


class Attribution:
    """Explain targets by transcoder features over all layers."""

    title = "Attribution graph"
    settings_type = TraceSettings

    def requires(
        self, anatomy: ModelAnatomy, cards: Sequence[DictionaryCard], settings: TraceSettings
    ) -> Refusal | None:
        """Say why it cannot run on this model with these dictionaries; None where it can."""
        if refused := causal_refusal(anatomy):
            return refused
        if settings.conventions == "circuit-tracer" and fitted(settings, cards).mlp != "transcoder":
            return Refusal(
                "circuit-tracer's conventions need transcoders, but none was given.",
                'Add transcoders, or leave conventions at "ours".',
            )
        return refusal(cards, settings)

    def run(
        self,
        model: LoadedModel,
        dictionaries: Sequence[Dictionary],
        settings: TraceSettings,
        progress: Progress,
    ) -> Circuit:
        """Compute a circuit."""
        clock = Clock()
        run = _open(model, dictionaries, settings, progress)
        weights = np.array([root.weight for root in run.roots])
        rows_at_once = rows_between_rankings(settings)
        budget = Budget(
            settings.max_nodes, settings.update_interval, settings.batch_size, rows_at_once
        )
        rows = expand_strongest(run.walk, run.explained, run.sources, weights, budget, progress)
        return _with_banner(finish(run, rows, clock, progress))

    def rerun(
        self,
        model: LoadedModel,
        dictionaries: Sequence[Dictionary],
        settings: TraceSettings,
        keep: set[tuple[int, ...]],
        known: Circuit,
        progress: Progress,
    ) -> Circuit:
        """Compute a circuit whose nodes with rows are given, as (kind, site, layer, pos, unit)."""
        clock = Clock()
        run = _open(model, dictionaries, settings, progress)
        rows = grown_rows(run, known, rows_of(run, keep), settings.batch_size, progress)
        return _with_banner(finish(run, rows, clock, progress))


def rows_between_rankings(settings: TraceSettings) -> int:
    """Return how many rows come between two rankings: a quarter of a budget by default."""
    if settings.conventions == "circuit-tracer":
        return settings.update_interval * (settings.batch_size or REFERENCE_BATCH)
    return settings.update_interval * min(max((settings.max_nodes or 0) // 16, 1), _MOST_STEP)


def _open(
    model: LoadedModel,
    dictionaries: Sequence[Dictionary],
    settings: TraceSettings,
    progress: Progress,
) -> Run:
    chosen = fitted(settings, cards_of(dictionaries))
    targets = tuple(
        replace(target, reading="centred")
        if isinstance(target, Logit) and target.reading == "auto"
        else target
        for target in chosen.targets
    )
    chosen = replace(chosen, targets=targets)
    if chosen.conventions == "circuit-tracer":
        chosen = replace(chosen, prompt=_with_first_token(model, chosen.prompt))
    run = open_run(model, dictionaries, chosen, progress)
    written = {**run.provenance.settings}
    if isinstance(settings.prompt, str):
        written["prompt"] = settings.prompt
    remarks = (*run.provenance.remarks, _REMARK)
    return replace(run, provenance=replace(run.provenance, settings=written, remarks=remarks))


def _with_first_token(model: LoadedModel, prompt: str | tuple[int, ...]) -> tuple[int, ...]:
    """Return ids that begin with a special token, as circuit-tracer makes them.

    Its choice is the first of bos, pad, eos and all special ids that is not 0.
    """
    ids = read_prompt(model, prompt).token_ids
    tokenizer = model.tokenizer
    if tokenizer is None or ids[0] in tokenizer.all_special_ids:
        return ids
    named = (tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id)
    first = next((token for token in (*named, *tokenizer.all_special_ids) if token), None)
    return ids if first is None else (int(first), *ids)


def _with_banner(circuit: Circuit) -> Circuit:
    """Say it first where errors carry more than half."""
    share = circuit.provenance.scores["error_share"]
    if share <= 0.5:
        return circuit
    remarks = (_BANNER.format(share=share), *circuit.provenance.remarks)
    return replace(circuit, provenance=replace(circuit.provenance, remarks=remarks))
