"""Direct contributions between the parts of a model (He et al. 2024, arXiv 2402.12201).

Question: which features, heads, neurons and tokens produced this logit, and what produced them,
one module at a time?

1. Run the prompt once. Freeze attention patterns, norm denominators and MLP gates; what is left
   is linear.
2. Break every output that is written to the residual stream into dictionary features, what they
   leave unexplained (one error per position) and constants; where there is no dictionary, into
   heads or neurons.
3. Find the targets, and at each the direction in which it reads the residual stream: through the
   last norm for logits; through OV and the frozen pattern for attention features and heads;
   through the MLP for MLP features (its gates at their secants, act(z) / z) and for neurons;
   through the norm alone for transcoder features.
4. The contribution of a writer is the product of what it wrote with that direction. All writers
   are ends of paths, so an edge passes exactly one module (and the skips of transcoders).
5. Do the same for every node, strongest first until the budget is spent.
6. Every row must add up to its pre-activation; what is not kept as a node is summed apart.

Frozen: patterns, denominators, gates, so an edge does not say why attention looked where it did,
nor what switched a neuron off (He et al., "always zero"). Nothing else is ignored: biases, errors
and positions are nodes. A gated MLP's product is shared by the rule chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from circuitscope.core.anatomy import ModelAnatomy
from circuitscope.core.circuit import Circuit
from circuitscope.core.dictionary import DictionaryCard
from circuitscope.core.progress import Progress
from circuitscope.core.settings import TraceSettings
from circuitscope.tracing.expansion import Budget, expand_strongest
from circuitscope.tracing.finish import finish, grown_rows, rows_of
from circuitscope.tracing.method import Refusal
from circuitscope.tracing.plan import causal_refusal, refusal
from circuitscope.tracing.run import Clock, open_run

if TYPE_CHECKING:
    from circuitscope.dictionaries.dictionary import Dictionary
    from circuitscope.models.loading import LoadedModel


class Direct:
    """Explain targets by direct contributions through one module."""

    title = "Direct contributions"
    settings_type = TraceSettings

    def requires(
        self, anatomy: ModelAnatomy, cards: Sequence[DictionaryCard], settings: TraceSettings
    ) -> Refusal | None:
        """Say why it cannot run on this model with these dictionaries; None where it can."""
        if refused := causal_refusal(anatomy):
            return refused
        if settings.conventions != "ours":
            return Refusal(
                f"The method direct has no conventions called {settings.conventions!r}.",
                'Leave conventions at "ours".',
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
        run = open_run(model, dictionaries, settings, progress)
        weights = np.array([root.weight for root in run.roots])
        budget = Budget(settings.max_nodes, settings.update_interval, settings.batch_size)
        rows = expand_strongest(run.walk, run.explained, run.sources, weights, budget, progress)
        return finish(run, rows, clock, progress)

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
        run = open_run(model, dictionaries, settings, progress)
        rows = grown_rows(run, known, rows_of(run, keep), settings.batch_size, progress)
        return finish(run, rows, clock, progress)
