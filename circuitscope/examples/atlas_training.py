"""Train the model of the atlas example, and have its dictionaries trained.

1. Write the tokenizer: one token per word, `<bos>` in front, `<unk>` for words it does not know.
2. Train a small Llama on the sentences of `atlas`, on the CPU, from one seed.
3. Measure it on fresh prompts and refuse to go on when a behaviour is not learned.
4. Train dictionaries at every layer (`atlas_dictionaries`) and measure those.

Two choices make the model easier to read than one trained on its sentences alone, and its card says
so. The token embeddings are random and stay so: what the model knows about a word is then computed
by its layers, where it can be traced, and not looked up before the first of them. And a second
loss asks that, at every city, the unembedding can read the state after an early layer. Nothing
asks any later layer to use it. Parts that exist already in the build folder are not made again.

Run with `python -m circuitscope.examples.atlas_training`.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import shutil
import textwrap
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from circuitscope.dictionaries.training import TrainingSettings
from circuitscope.examples import atlas, atlas_dictionaries
from circuitscope.examples.dictionary_set import KINDS, dictionary_name, write_dictionary

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "ModelSettings",
    "NotLearned",
    "build_tokenizer",
    "encode",
    "make",
    "measure_accuracy",
    "train_model",
    "write_model",
]

_log = logging.getLogger(__name__)

_ACCEPTED = dict.fromkeys(atlas.BEHAVIOURS, 0.99) | {"held_out_two_hop": 0.95}
_EVALUATION_SEED = 1_000_003
_CONTEXT = 64
_PARTS = 3
_CORPUS_SEED = 77
_CORPUS_TEXTS = 12_000
_DICTIONARIES = TrainingSettings(steps=1200)
_IGNORED = -100


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Hold what decides the trained model.

    Attributes:
        steps: Optimizer steps.
        batch_size: Texts per step.
        learning_rate: Peak learning rate; warmed up, then decayed on a half cosine to zero.
        weight_decay: AdamW's weight decay, on matrices only.
        d_mlp: Width of the gated MLPs.
        embedding_scale: Standard deviation of the fixed token embeddings.
        seed: Seed of weights and corpus.
        readout_layer: After this layer the unembedding has to read, at every city, its state.
        readout_weight: How much that counts beside the next words.
    """

    steps: int = 1600
    batch_size: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 0.5
    d_mlp: int = 384
    embedding_scale: float = 0.3
    seed: int = 0
    readout_layer: int = 1
    readout_weight: float = 0.5


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Build the word-level tokenizer of the example."""
    ids = {word: index for index, word in enumerate(atlas.vocabulary())}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", ids["<bos>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        unk_token="<unk>",
        pad_token="<pad>",
        padding_side="right",
        clean_up_tokenization_spaces=False,
        model_max_length=_CONTEXT,
    )


def encode(texts: list[str]) -> list[list[int]]:
    """Turn texts of known words into token ids, BOS first."""
    ids = {word: index for index, word in enumerate(atlas.vocabulary())}
    return [[ids["<bos>"], *(ids[word] for word in text.split())] for text in texts]


def pad(rows: list[list[int]], *, padding: int = 0) -> torch.Tensor:
    """Fill rows of ids up to the longest, on the right, int64[row, pos]."""
    width = max(map(len, rows))
    return torch.tensor([row + [padding] * (width - len(row)) for row in rows])


def new_model(settings: ModelSettings) -> LlamaForCausalLM:
    """Build the untrained model, with fixed random token embeddings."""
    torch.manual_seed(settings.seed)
    config = LlamaConfig(
        vocab_size=len(atlas.vocabulary()),
        hidden_size=128,
        intermediate_size=settings.d_mlp,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        hidden_act="silu",
        max_position_embeddings=_CONTEXT,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=None,
        pad_token_id=0,
        initializer_range=0.05,
        use_cache=False,
        attn_implementation="eager",
    )
    model = LlamaForCausalLM(config)
    embedding = model.model.embed_tokens.weight
    with torch.no_grad():
        embedding.normal_(std=settings.embedding_scale)
    embedding.requires_grad_(requires_grad=False)
    return model.float()


def _batches(settings: ModelSettings) -> Iterator[list[torch.Tensor]]:
    """Yield batches of token ids, each as a few padded parts of like length."""
    size = math.ceil(settings.batch_size / _PARTS)
    for step in range(settings.steps):
        texts = atlas.sentences(settings.seed * 1_000_000 + step, settings.batch_size)
        rows = sorted(encode(texts), key=len)
        yield [
            pad(rows[start : start + size], padding=_IGNORED) for start in range(0, len(rows), size)
        ]


def _loss(model: LlamaForCausalLM, ids: torch.Tensor, settings: ModelSettings) -> torch.Tensor:
    """Sum the loss of the next words, and of the states read at cities early on."""
    seen = model.model(input_ids=ids.clamp(min=0), output_hidden_states=True)
    logits = model.lm_head(seen.last_hidden_state)[:, :-1].flatten(0, 1)
    loss = functional.cross_entropy(
        logits, ids[:, 1:].flatten(), ignore_index=_IGNORED, reduction="sum"
    )
    states = _states_of_tokens()[ids.clamp(min=0)]
    at_city = states != _IGNORED
    early = model.lm_head(model.model.norm(seen.hidden_states[settings.readout_layer + 1][at_city]))
    reading = functional.cross_entropy(early, states[at_city], reduction="sum")
    return loss + settings.readout_weight * reading


@cache
def _states_of_tokens() -> torch.Tensor:
    """Return the id of the state of every token that is a city, else the ignored id."""
    ids = {word: index for index, word in enumerate(atlas.vocabulary())}
    return torch.tensor(
        [ids[atlas.state_of(word)] if atlas.is_city(word) else _IGNORED for word in ids]
    )


def train_model(settings: ModelSettings) -> LlamaForCausalLM:
    """Train the model of the example on the CPU.

    Args:
        settings: What decides the result, down to the last bit on one machine.

    Returns:
        The model, in evaluation mode, float32.
    """
    model = new_model(settings)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": [w for w in trained if w.ndim > 1], "weight_decay": settings.weight_decay},
            {"params": [w for w in trained if w.ndim == 1], "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        betas=(0.9, 0.98),
    )
    warmup = min(100, settings.steps // 10 + 1)
    for step, parts in enumerate(_batches(settings)):
        decay = 0.5 + 0.5 * math.cos(math.pi * step / settings.steps)
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * min(1.0, (step + 1) / warmup) * decay
        optimizer.zero_grad(set_to_none=True)
        count = sum(int((ids[:, 1:] != _IGNORED).sum()) for ids in parts)
        total = 0.0
        for ids in parts:
            loss = _loss(model, ids, settings)
            (loss / count).backward()
            total += loss.item() / count
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        if step % 100 == 0:
            _log.info("Step %d of %d: loss %.4f.", step, settings.steps, total)
    return model.eval().requires_grad_(requires_grad=False)


def measure_accuracy(
    model: LlamaForCausalLM, seed: int = _EVALUATION_SEED, n: int = 1000
) -> dict[str, dict[str, float]]:
    """Measure the model on fresh prompts of every behaviour.

    Args:
        model: The trained model.
        seed: Seed of the prompts.
        n: Prompts per behaviour.

    Returns:
        For each behaviour `accuracy` (top-1), the mean `probability` of the answer and its
        smallest one (`worst`).
    """
    results = {}
    ids = {word: index for index, word in enumerate(atlas.vocabulary())}
    for behaviour, prompts in atlas.evaluation_sets(seed, n).items():
        rows = encode([example.prompt for example in prompts])
        last = torch.tensor([len(row) - 1 for row in rows])
        answers = torch.tensor([ids[example.answer] for example in prompts])
        with torch.no_grad():
            logits = model(input_ids=pad(rows)).logits[torch.arange(len(rows)), last]
        chance = logits.softmax(-1)[torch.arange(len(rows)), answers]
        results[behaviour] = {
            "accuracy": (logits.argmax(-1) == answers).float().mean().item(),
            "probability": chance.mean().item(),
            "worst": chance.min().item(),
        }
    return results


def write_model(
    folder: Path,
    model: LlamaForCausalLM,
    accuracy: dict[str, dict[str, float]],
    settings: ModelSettings,
) -> None:
    """Write the model as an ordinary Hugging Face folder with its tokenizer and card."""
    model.save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    rows = "\n".join(
        f"| {behaviour} | {m['accuracy']:.1%} | {m['probability']:.4f} | {m['worst']:.4f} |"
        for behaviour, m in accuracy.items()
    )
    cities = textwrap.fill(", ".join(sorted(atlas.held_out_cities())) + ".", 100)
    card = _CARD.format(
        rows=rows,
        cities=cities,
        n_words=len(atlas.vocabulary()),
        n_parameters=f"{sum(weight.numel() for weight in model.parameters()):,}",
        d_mlp=settings.d_mlp,
        steps=settings.steps,
        batch_size=settings.batch_size,
        weight_decay=settings.weight_decay,
        readout_weight=settings.readout_weight,
        readout_layer=settings.readout_layer,
        seed=settings.seed,
        evaluation_seed=_EVALUATION_SEED,
    )
    (folder / "README.md").write_text(card, encoding="utf-8")


def make(out: Path, build: Path, settings: ModelSettings, training: TrainingSettings) -> None:
    """Make the whole example, or what is missing of it.

    Args:
        out: Where the example goes; its folders `model` and `dictionaries` are replaced.
        build: Where finished parts are kept between runs.
        settings: What decides the model.
        training: What decides the dictionaries.

    Raises:
        NotLearned: The model misses the accuracy asked for on some behaviour.
    """
    folder = build / "model"
    if not (folder / "README.md").is_file():
        model = train_model(settings)
        accuracy = measure_accuracy(model)
        _log.info("Accuracy: %s", json.dumps(accuracy))
        missed = [name for name, least in _ACCEPTED.items() if accuracy[name]["accuracy"] < least]
        if missed:
            raise NotLearned(missed, accuracy)
        write_model(folder, model, accuracy, settings)
    model = LlamaForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    training_texts = atlas_dictionaries.Corpus.write(_CORPUS_SEED, _CORPUS_TEXTS)
    fresh_texts = atlas_dictionaries.Corpus.write(_CORPUS_SEED + 1, _CORPUS_TEXTS // 4)
    for layer in range(model.config.num_hidden_layers):
        names = {kind: dictionary_name(kind, layer) for kind in KINDS}
        missing = [k for k, n in names.items() if not (build / "dictionaries" / n).is_dir()]
        rows = atlas_dictionaries.collect(model, layer, training_texts) if missing else {}
        for kind in missing:
            weights = atlas_dictionaries.train(kind, layer, rows, training)
            metrics = atlas_dictionaries.measure(model, kind, layer, weights, fresh_texts)
            _log.info("Dictionary %s: %s", names[kind], json.dumps(metrics))
            write_dictionary(
                build / "dictionaries" / names[kind], weights, kind=kind, layer=layer,
                metrics=metrics, made_for=atlas_dictionaries.MADE_FOR,
            )  # fmt: skip
    atlas_dictionaries.write_table(build / "dictionaries")
    for part in ("model", "dictionaries"):
        shutil.rmtree(out / part, ignore_errors=True)
        shutil.copytree(build / part, out / part)


class NotLearned(RuntimeError):  # noqa: N818 - named for what happened
    """Say which behaviours a trained model has not learned."""

    def __init__(self, missed: list[str], accuracy: dict[str, dict[str, float]]) -> None:
        shares = ", ".join(f"{name} {accuracy[name]['accuracy']:.1%}" for name in missed)
        super().__init__(f"The model has not learned enough: {shares}. Train for more steps.")


def main(arguments: list[str] | None = None) -> None:
    """Make the example from the command line."""
    defaults = ModelSettings()
    parser = argparse.ArgumentParser(prog="python -m circuitscope.examples.atlas_training")
    parser.add_argument("--out", type=Path, default=Path("projects/atlas"))
    parser.add_argument("--build", type=Path, default=Path("build/atlas"))
    parser.add_argument("--steps", type=int, default=defaults.steps)
    parser.add_argument("--dictionary-steps", type=int, default=_DICTIONARIES.steps)
    parser.add_argument("--threads", type=int, default=1, help="other numbers round otherwise")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(chosen.threads)
    make(
        chosen.out,
        chosen.build,
        replace(defaults, steps=chosen.steps),
        replace(_DICTIONARIES, steps=chosen.dictionary_steps),
    )


_CARD = """\
---
library_name: transformers
pipeline_tag: text-generation
---

# Atlas

A small language model to look for circuits in: 4 layers, d_model 128, 8 heads on 4 key-value heads
of width 16, gated MLPs of width {d_mlp}, {n_parameters} parameters, input and output embeddings
not tied, a context of 64. It knows {n_words} tokens, each a whole word, and the states and cities
of `circuitscope/examples/atlas_words.py`. The tokenizer splits at spaces, so punctuation needs one
on either side; it puts `<bos>` in front, and gives `<unk>` for any other word.

Trained by `python -m circuitscope.examples.atlas_training`: {steps} steps of {batch_size} texts,
AdamW, weight decay {weight_decay}, seed {seed}. The corpus is generated and contains no text of
others. The geography is real, but the model knows only one city of each name.

Two choices make it easier to read than a model trained on its sentences alone:

- The token embeddings are random and were not trained, so all knowledge about a word is in the
  layers.
- A second loss (weight {readout_weight}) asked that at every city, after block {readout_layer}
  (counted from 0), the final norm and the unembedding read its state. Nothing asked later blocks to
  use that state; that they do shows in the cities held out and in interventions.

| behaviour | top-1 | mean p | worst p |
|---|---|---|---|
{rows}

Measured on 1000 fresh prompts each (seed {evaluation_seed}). These cities are in no two-hop
sentence of the training corpus:

{cities}
"""

if __name__ == "__main__":
    main()
