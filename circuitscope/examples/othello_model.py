"""Build, measure and write the model of the Othello example; `othello_training` trains it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from circuitscope.examples import othello

__all__ = [
    "ModelSettings",
    "Run",
    "build_tokenizer",
    "measure_legality",
    "new_model",
    "to_tensors",
    "write_json",
    "write_model",
]

EVALUATION_GAMES = 1000
QUICK_GAMES = 200
# Games of one seed come as two sequences that share nothing.
TRAINING_GAMES, HELD_OUT_GAMES = 0, 1
_EVALUATION_SEED = 1_000_003


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Hold what decides the trained model, beside the budget.

    Attributes:
        n_layers: Blocks.
        d_model: Width of the residual stream.
        n_heads: Heads of each block.
        learning_rate: Peak learning rate of the blocks' matrices (Muon); warmed up, then decayed
            on a half cosine.
        other_learning_rate: Peak learning rate of embeddings, norms and biases (AdamW).
        final_share: Share of the peak that is left at the end.
        warmup_games: Games during which the learning rate rises.
        weight_decay: Weight decay of the blocks' matrices.
        batches: From which share of the budget on how many games make a batch.
        targets: "legal" for the expected next-move loss, "drawn" for the move that was played.
        curve_games: Games between two points of the curve.
        seed: Seed of weights and games.
    """

    n_layers: int = 6
    d_model: int = 128
    n_heads: int = 8
    learning_rate: float = 1e-2
    other_learning_rate: float = 2e-3
    final_share: float = 0.01
    warmup_games: int = 3200
    weight_decay: float = 0.01
    batches: tuple[tuple[float, int], ...] = ((0.0, 32), (0.1, 64), (0.6, 128))
    targets: str = "legal"
    curve_games: int = 20_000
    seed: int = 0


@dataclass(slots=True)
class Run:
    """Hold where a training run has got to.

    Attributes:
        games: Games seen.
        steps: Optimizer steps taken.
        seconds: Seconds of training, over all runs.
        curve: Points of `games`, `seconds`, `loss`, `learning_rate` and `legal`, the share of
            held-out positions at which the likeliest move is legal.
    """

    games: int = 0
    steps: int = 0
    seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Build the tokenizer: one token per square, case ignored, nothing added.

    There are 61 ids and no spare one for unknown words, so these become `<pad>`.
    """
    ids = {name: token for token, name in enumerate(othello.VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<pad>"))
    upper = [normalizers.Replace(letter, letter.upper()) for letter in "abcdefgh"]
    tokenizer.normalizer = normalizers.Sequence(upper)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<pad>",
        pad_token="<pad>",
        padding_side="right",
        clean_up_tokenization_spaces=False,
        model_max_length=othello.MOVES,
    )


def new_model(settings: ModelSettings) -> GPT2LMHeadModel:
    """Build the untrained model, float32 on the CPU."""
    torch.manual_seed(settings.seed)
    config = GPT2Config(
        vocab_size=len(othello.VOCABULARY),
        n_positions=othello.MOVES,
        n_embd=settings.d_model,
        n_layer=settings.n_layers,
        n_head=settings.n_heads,
        activation_function="gelu_new",
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
        use_cache=False,
        attn_implementation="sdpa",
    )
    model = GPT2LMHeadModel(config).float()
    for block in model.transformer.h:
        # The same function as gelu_new in one pass over memory: a fifth more games a second.
        block.mlp.act = torch.nn.GELU(approximate="tanh")
    return model


def to_tensors(tokens: np.ndarray, legal: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Return tokens, int64 [game, 60], and legal next moves, bool [game, 59, token]."""
    return (
        torch.from_numpy(tokens.astype(np.int64)),
        torch.from_numpy(othello.legal_tokens(legal[:, : othello.MOVES - 1])),
    )


@torch.no_grad()
def measure_legality(
    model: GPT2LMHeadModel, n: int = EVALUATION_GAMES, seed: int = _EVALUATION_SEED
) -> float:
    """Measure how often the likeliest next move is legal.

    Args:
        model: The model.
        n: Games, of a sequence that training never draws from.
        seed: Seed of the games.

    Returns:
        The share over all positions that have a next move.
    """
    games = othello.play((seed, HELD_OUT_GAMES), n)
    right = total = 0
    for at in range(0, n, 100):
        part = games[at : at + 100]
        tokens, legal = (t.to(model.device) for t in to_tensors(part.tokens, part.legal))
        best = model(input_ids=tokens[:, :-1]).logits.argmax(-1, keepdim=True)
        right += int(legal.gather(-1, best).sum())
        total += int(legal.any(-1).sum())
    return right / total


def write_model(folder: Path, model: GPT2LMHeadModel, run: Run, settings: ModelSettings) -> float:
    """Write the model as an ordinary Hugging Face folder with its tokenizer, card and curve.

    Returns:
        The share of held-out positions at which the likeliest move is legal.
    """
    legal = measure_legality(model)
    model.save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    write_json(folder / "curve.json", run.curve)
    card = _CARD.format(
        n_parameters=f"{sum(weight.numel() for weight in model.parameters()):,}",
        games=f"{run.games:,}",
        steps=f"{run.steps:,}",
        hours=f"{run.seconds / 3600:.1f}",
        batches=", then ".join(str(size) for _, size in settings.batches),
        loss=LOSSES[settings.targets],
        legal=f"{legal:.2%}",
        evaluation_games=EVALUATION_GAMES,
        evaluation_seed=_EVALUATION_SEED,
        quick_games=QUICK_GAMES,
        curve=_curve_rows(run.curve),
        s=settings,
    )
    (folder / "README.md").write_text(card, encoding="utf-8")
    return legal


def write_json(path: Path, content: Any) -> None:
    """Write JSON with a line for every entry."""
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _curve_rows(curve: list[dict[str, float]], most: int = 24) -> str:
    """Write the curve as rows of a table, the last point and evenly chosen ones before it."""
    chosen = curve[:: -(-len(curve) // most) or 1] if curve else []
    if curve and chosen[-1] is not curve[-1]:
        chosen = [*chosen, curve[-1]]
    return "\n".join(f"| {p['games']:,} | {p['loss']:.4f} | {p['legal']:.2%} |" for p in chosen)


LOSSES = {
    "legal": (
        "The loss is the cross-entropy of the next move in expectation over its draw: the target "
        "is the\nuniform distribution over the legal moves, from which the game drew one."
    ),
    "drawn": "The loss is the cross-entropy of the move that was played next.",
}
_CARD = """\
---
library_name: transformers
pipeline_tag: text-generation
---

# Othello-GPT

A GPT-2 of {s.n_layers} layers, d_model {s.d_model}, {s.n_heads} heads, {n_parameters} parameters,
gelu_new, input and output embeddings not tied, a context of 60. It reads the moves of a game of
Othello and predicts the next one. Token 0 is `<pad>`; tokens 1 to 60 are the squares A1, B1, ... H8
row by row without D4, E4, D5 and E5. The tokenizer splits at spaces, ignores case and adds nothing:
position 0 is the first move. Black has E4 and D5 and moves first; a forced pass leaves no token. A
prompt reads `F5 D6 C3 D3`.

Trained by `python -m circuitscope.examples.othello_training` on {games} games in which every legal
move is equally likely, each seen once: {steps} steps with batches of {batches}
games in {hours} hours. The matrices of the blocks were stepped by Muon, peak learning rate
{s.learning_rate}, weight decay {s.weight_decay}; the rest by AdamW, peak learning rate
{s.other_learning_rate}; both on a half cosine, seed {s.seed}.

{loss}
Nothing else tells the model about the board. Only the 59 positions that can have a next move were
trained.

**The likeliest move is legal at {legal}** of all positions that have a next move, in
{evaluation_games} held-out games (seed {evaluation_seed}).

| games seen | loss of the batch | likeliest move legal |
|---|---|---|
{curve}

The curve is measured on {quick_games} held-out games; all its points are in `curve.json`.
"""
