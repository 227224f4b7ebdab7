"""Hold what the claims about Othello-GPT are tested on: model, dictionaries, games, activations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from circuitscope.examples import othello
from circuitscope.examples.dictionary_set import dictionary_name
from circuitscope.examples.othello_dictionaries import Sample
from circuitscope.examples.othello_evidence import Facts, Meaning

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import GPT2LMHeadModel

    from circuitscope.dictionaries.training import DictionaryWeights

__all__ = ["GAMES", "GOOD", "Finding", "Place", "Subject", "judge"]

GOOD = 0.7
"""F1 from which on a rule counts as what a feature means."""
PRECISE = 0.9
"""How often a fact must hold where a feature fires for the feature to be one of that fact."""
SEED, GAMES = 4_000_037, 210


@dataclass(frozen=True, slots=True)
class Finding:
    """Hold one claim's outcome.

    Attributes:
        claim: In He et al.'s words, shortened.
        measure: What was measured, and the bar.
        verdict: "holds", "holds in part" or "does not hold".
        lines: Numbers in sentences.
    """

    claim: str
    measure: str
    verdict: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Hold one dictionary and what its features mean."""

    weights: DictionaryWeights
    meaning: Meaning

    def of_kind(self, facts: Facts, *kinds: str, least: float = GOOD) -> NDArray[np.int64]:
        """Return the rows of `meaning` whose rule is about one of these kinds and good."""
        m = self.meaning
        return np.flatnonzero(np.isin(facts.kinds[m.first], kinds) & (m.f1 >= least))

    def telling_of(self, facts: Facts, *kinds: str) -> NDArray[np.int64]:
        """Return the rows that tell most about such a fact, and rarely fire without it."""
        m = self.meaning
        return np.flatnonzero(np.isin(facts.kinds[m.telling], kinds) & (m.precision >= PRECISE))


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

    @property
    def outputs(self) -> list[str]:
        """Name the dictionaries of what attention and MLPs write, by depth."""
        return [
            dictionary_name(kind, layer)
            for layer in range(self.n_layers)
            for kind in ("attn_out", "mlp_out")
        ]

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


def judge(value: float, bar: float, telling: float = 0.0) -> str:
    """Return the verdict on a number: above the bar, above its half, or below.

    Args:
        value: By rules, where features are counted.
        bar: Set before the number was seen.
        telling: The same by telling facts; above the bar, the claim holds in part.
    """
    if value >= bar:
        return "holds"
    return "holds in part" if value >= bar / 2 or telling >= bar else "does not hold"
