"""Train, measure and write the dictionaries of the Othello example.

Three for every layer, in the format of SAELens:

- `attn_out_{l}`: an autoencoder of what attention writes (after `c_proj`),
- `mlp_out_{l}`: an autoencoder of what the MLP writes,
- `mlp_transcoder_{l}`: from what the `mlp` module receives (the residual stream after the norm) to
  what it writes.

All are JumpReLU dictionaries, trained and measured on random games of two seeds that the model was
not trained on, at the positions that have a next move; the model was trained at no others.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import GPT2LMHeadModel

from circuitscope.dictionaries.training import DictionaryWeights, TrainingSettings, train_dictionary
from circuitscope.examples import othello
from circuitscope.examples.dictionary_set import (
    KINDS,
    dictionary_name,
    ends,
    hooked,
    read_dictionary,
    write_dictionary,
)
from circuitscope.examples.othello_model import HELD_OUT_GAMES, to_tensors

__all__ = ["KINDS", "Plan", "Sample", "collect", "make", "measure", "read_dictionary", "train"]

_log = logging.getLogger(__name__)

_MADE_FOR = {"model_name": "othello", "prepend_bos": False, "context_size": othello.MOVES}
_SEED = 2_000_003
_TRAINING = TrainingSettings(d_sae=1024, k=16.0, steps=1500, learning_rate=2e-3)
_BATCH = 250


@dataclass(frozen=True, slots=True)
class Plan:
    """Hold what decides the dictionaries.

    Attributes:
        training: Settings of every dictionary; the seed grows with the layer.
        games: Games to train on.
        fresh_games: Games to measure on.
    """

    training: TrainingSettings = _TRAINING
    games: int = 5000
    fresh_games: int = 1000


@dataclass(frozen=True, slots=True)
class Sample:
    """Hold games as the model reads them.

    Attributes:
        ids: Tokens, int64 [game, 59].
        asked: Whether a position has a next move, [game, 59].
        legal: The legal next moves, bool [game, 59, token].
    """

    ids: torch.Tensor
    asked: torch.Tensor
    legal: torch.Tensor

    @classmethod
    def play(cls, seed: int, n: int) -> Sample:
        """Play games that the model was not trained on."""
        return cls.played(seed, n)[1]

    @classmethod
    def played(cls, seed: int, n: int) -> tuple[othello.Games, Sample]:
        """Play such games and return them too."""
        games = othello.play((seed, HELD_OUT_GAMES), n)
        tokens, legal = to_tensors(games.tokens, games.legal)
        return games, cls(tokens[:, :-1], legal.any(-1), legal)

    def batches(self) -> Iterator[Sample]:
        """Yield a few hundred games at a time."""
        for part in torch.arange(len(self.ids)).split(_BATCH):
            yield Sample(self.ids[part], self.asked[part], self.legal[part])


def _parts(model: GPT2LMHeadModel, layer: int) -> tuple[nn.Module, nn.Module]:
    block = model.transformer.h[layer]
    return block.mlp, block.attn.c_proj


@torch.no_grad()
def collect(model: GPT2LMHeadModel, layer: int, sample: Sample) -> dict[str, np.ndarray]:
    """Collect what a layer reads and writes.

    Args:
        model: The trained model.
        layer: Which layer.
        sample: The games.

    Returns:
        "mlp_in", "mlp_out" and "attn_out", float32 [row, d_model], a row for every position that
        has a next move.
    """
    found: dict[str, list[np.ndarray]] = {"mlp_in": [], "mlp_out": [], "attn_out": []}
    for part in sample.batches():

        def keep(site: str, value: torch.Tensor, asked: torch.Tensor = part.asked) -> None:
            found[site].append(value[asked].numpy())

        with hooked(*_parts(model, layer), keep):
            model.transformer(input_ids=part.ids)
    return {site: np.concatenate(rows) for site, rows in found.items()}


def train(
    kind: str, layer: int, rows: dict[str, np.ndarray], settings: TrainingSettings
) -> DictionaryWeights:
    """Train one dictionary on the rows that `collect` found."""
    return train_dictionary(*ends(kind, rows), replace(settings, seed=settings.seed + layer))


def measure(
    model: GPT2LMHeadModel, kind: str, layer: int, weights: DictionaryWeights, sample: Sample
) -> dict[str, float]:
    """Measure a dictionary on games it was not trained on.

    Args:
        model: The trained model.
        kind: One of `KINDS`.
        layer: Its layer.
        weights: The dictionary.
        sample: The games.

    Returns:
        Explained variance; mean L0; the share of features that never fire; loss (nats
        per move, legal moves as equally likely targets) and the share of legal top-1 moves, of the
        model as it is and with the dictionary's output in place of the activation.
    """
    inputs, outputs = ends(kind, collect(model, layer, sample))
    written = inputs if outputs is None else outputs
    wrong = fired = active = 0.0
    # In parts: a row of features is eight times as wide as what it stands for.
    for at in range(0, len(inputs), 8192):
        features = weights.encode(inputs[at : at + 8192])
        wrong += float(np.square(written[at : at + 8192] - weights.decode(features)).sum())
        active += float((features > 0).sum())
        fired = np.logical_or(fired, (features > 0).any(0))
    loss, legal = _score(model, sample)
    loss_spliced, legal_spliced = _score(model, sample, kind, layer, weights)
    return {
        "explained_variance": 1 - wrong / float(np.square(written - written.mean(0)).sum()),
        "l0": active / len(inputs),
        "dead_share": 1 - float(np.mean(fired)),
        "loss": loss,
        "loss_spliced": loss_spliced,
        "legal": legal,
        "legal_spliced": legal_spliced,
    }


@torch.no_grad()
def _score(
    model: GPT2LMHeadModel,
    sample: Sample,
    kind: str = "",
    layer: int = 0,
    weights: DictionaryWeights | None = None,
) -> tuple[float, float]:
    """Measure loss and legality, with a dictionary spliced in if one is given."""
    seen: dict[str, torch.Tensor] = {}
    source, target = ("mlp_in", "mlp_out") if kind == "mlp_transcoder" else (kind, kind)

    def splice(site: str, value: torch.Tensor) -> torch.Tensor | None:
        seen[site] = value
        if weights is None or site != target:
            return None
        flat = seen[source].flatten(0, 1).numpy()
        return torch.from_numpy(weights.decode(weights.encode(flat))).view_as(value)

    loss, right, count = 0.0, 0, 0
    with hooked(*_parts(model, layer), splice):
        for part in sample.batches():
            logits = model(input_ids=part.ids).logits[part.asked]
            # Uniform over the legal moves, from which the next one was drawn.
            wanted = part.legal[part.asked].float()
            wanted /= wanted.sum(-1, keepdim=True)
            loss += functional.cross_entropy(logits, wanted, reduction="sum").item()
            best = logits.argmax(-1, keepdim=True)
            right += int((wanted.gather(-1, best) > 0).sum())
            count += len(logits)
    return loss / count, right / count


def write_table(folder: Path) -> None:
    """Write the folder's README.md from the metrics inside its dictionaries."""
    lines = []
    for path in sorted(folder.glob("*/cfg.json")):
        config = json.loads(path.read_text(encoding="utf-8"))
        m = config["metadata"]["metrics"]
        lines.append(
            f"| {path.parent.name} | {config['d_sae']} | {m['explained_variance']:.4f} "
            f"| {m['l0']:.1f} | {m['dead_share']:.3f} | {m['loss']:.4f} | {m['loss_spliced']:.4f} "
            f"| {m['legal']:.2%} | {m['legal_spliced']:.2%} |"
        )
    (folder / "README.md").write_text(_TABLE.format(rows="\n".join(lines)), encoding="utf-8")


def make(out: Path, build: Path, plan: Plan | None = None) -> None:
    """Train every dictionary that is missing for the model in `out`.

    Args:
        out: The example's folder; `dictionaries` in it is replaced.
        build: Where finished dictionaries are kept between runs, for one model each.
        plan: What decides the dictionaries.
    """
    plan = plan or Plan()
    model = GPT2LMHeadModel.from_pretrained(out / "model", attn_implementation="sdpa").eval()
    digest = _digest(out / "model" / "model.safetensors")
    folder = build / "dictionaries" / digest
    sample, fresh = Sample.play(_SEED, plan.games), Sample.play(_SEED + 1, plan.fresh_games)
    for layer in range(model.config.n_layer):
        missing = [k for k in KINDS if not (folder / f"{k}_{layer}" / "cfg.json").is_file()]
        rows = collect(model, layer, sample) if missing else {}
        for kind in missing:
            weights = train(kind, layer, rows, plan.training)
            metrics = measure(model, kind, layer, weights, fresh)
            _log.info("Dictionary %s_%d: %s", kind, layer, json.dumps(metrics))
            write_dictionary(
                folder / dictionary_name(kind, layer), weights, kind=kind, layer=layer,
                metrics=metrics, made_for=_MADE_FOR,
            )  # fmt: skip
    write_table(folder)
    shutil.rmtree(out / "dictionaries", ignore_errors=True)
    shutil.copytree(folder, out / "dictionaries")


def _digest(path: Path) -> str:
    """Name a model by its weights, so that no dictionary of another one is taken for its own."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


_TABLE = """\
# Dictionaries of Othello-GPT

JumpReLU dictionaries in the format of SAELens, trained on random games by
`python -m circuitscope.examples.othello_training --dictionaries`. Decoder rows have unit length.

- `attn_out_{{l}}` reads and writes `blocks.{{l}}.hook_attn_out`, the output of `c_proj`.
- `mlp_out_{{l}}` reads and writes `blocks.{{l}}.hook_mlp_out`.
- `mlp_transcoder_{{l}}` reads `blocks.{{l}}.mlp.hook_in`, what the MLP receives, after the
  LayerNorm with its gain and bias, and writes `blocks.{{l}}.hook_mlp_out`.

Measured on games of a seed that nothing was trained on, at every position that has a next move. L0
is the mean number of active features, dead the share of features that fire nowhere in these games.
Loss is in nats per move, with the legal moves as equally likely targets; legal is how often the
likeliest move is a legal one. Both are given for the model and with the dictionary's output in
place of the activation at every position.

| dictionary | d_sae | explained variance | L0 | dead | loss | spliced | legal | spliced |
|---|---|---|---|---|---|---|---|---|
{rows}
"""
