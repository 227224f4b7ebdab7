"""Train the sentiment classifier on a local copy of SST-2.

1. Learn a WordPiece vocabulary on the training sentences.
2. Train a two-layer BERT from nothing: a part of the tokens is masked in every sentence, so that
   no single word decides; weights are averaged over the last steps.
3. After every epoch put weights, optimizer and average into one safetensors file; a later run goes
   on from there.
4. Choose the epoch by accuracy on training sentences held out; the development sentences are
   looked at at the end only. Write the model folder, tokenizer and card.

The data (sentence, tab, label) are a path given to the trainer; nothing of them is kept but the
vocabulary's word pieces and the weights. Run with
`python -m circuitscope.examples.sentiment_training DATA --out projects/sentiment/model`.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.shipped import shipped_path
from circuitscope.examples.sentiment import LABELS

log = logging.getLogger(__name__)
SPECIALS = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]")
_PAD, _MASK = 0, 4


@dataclass(frozen=True, slots=True)
class Training:
    """How the classifier is trained."""

    n_vocab: int = 6000
    d_model: int = 64
    n_layers: int = 2
    n_heads: int = 4
    d_mlp: int = 128
    n_epochs: int = 16
    batch_size: int = 64
    rate: float = 1.5e-3
    weight_decay: float = 0.05
    dropout: float = 0.3
    masked: float = 0.2
    average: float = 0.99
    n_held: int = 600
    seed: int = 0


def read_sentences(path: Path) -> list[tuple[str, int]]:
    """Return sentences and labels of a file.

    Raises:
        CircuitScopeError: The file is not there or not of this form.
    """
    if not path.is_file():
        raise CircuitScopeError(
            f"There is no file {path.name} in {path.parent}.",
            hint="Give the folder that holds train.tsv and dev.tsv of SST-2.",
        )
    rows = [line.rsplit("\t", 1) for line in path.read_text("utf-8").splitlines() if line]
    return [(text, int(label)) for text, label in rows]


def learn_tokenizer(texts: list[str], n_vocab: int) -> PreTrainedTokenizerFast:
    """Learn lower-case word pieces."""
    from tokenizers import (
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
        trainers,
    )

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=n_vocab, special_tokens=list(SPECIALS), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]",
        unk_token="[UNK]", mask_token="[MASK]", model_max_length=96,
    )  # fmt: skip


def new_model(how: Training, n_vocab: int) -> BertForSequenceClassification:
    """Return an untrained classifier."""
    torch.manual_seed(how.seed)
    config = BertConfig(
        vocab_size=n_vocab, hidden_size=how.d_model, num_hidden_layers=how.n_layers,
        num_attention_heads=how.n_heads, intermediate_size=how.d_mlp, max_position_embeddings=96,
        type_vocab_size=1, hidden_dropout_prob=how.dropout, attention_probs_dropout_prob=0.1,
        initializer_range=0.05, num_labels=2, pad_token_id=_PAD,
        id2label=dict(enumerate(LABELS)), label2id={name: k for k, name in enumerate(LABELS)},
    )  # fmt: skip
    return BertForSequenceClassification(config)


def _batch(rows: list[list[int]]) -> torch.Tensor:
    width = max(map(len, rows))
    return torch.tensor([row + [_PAD] * (width - len(row)) for row in rows])


def accuracy(
    model: BertForSequenceClassification, rows: list[list[int]], labels: list[int]
) -> float:
    """Return the share of sentences that get their label."""
    model.eval()
    right = 0
    with torch.no_grad():
        for first in range(0, len(rows), 128):
            ids = _batch(rows[first : first + 128])
            logits = model(input_ids=ids, attention_mask=(ids != _PAD).long()).logits
            wanted = torch.tensor(labels[first : first + 128])
            right += int((logits.argmax(-1) == wanted).sum())
    return right / len(rows)


class Trainer:
    """Hold a run between epochs."""

    def __init__(self, how: Training, model: BertForSequenceClassification, kept: Path) -> None:
        self._how, self._model, self._kept = how, model, kept
        self._optimizer = torch.optim.AdamW(
            model.parameters(), lr=how.rate, weight_decay=how.weight_decay
        )
        self._average = {name: t.detach().clone() for name, t in model.state_dict().items()}
        self.epoch, self.best = 0, 0.0
        self.chosen = self._average
        self._resume()

    def _resume(self) -> None:
        if not self._kept.is_file():
            return
        held = load_file(self._kept)
        note = json.loads((self._kept.parent / "run.json").read_text("utf-8"))
        if note["how"] != asdict(self._how):
            return
        parts: dict[str, dict[str, torch.Tensor]] = {}
        for name, tensor in held.items():
            part, _, rest = name.partition("/")
            parts.setdefault(part, {})[rest] = tensor
        self._model.load_state_dict(parts["model"])
        self._average, self.chosen = parts["average"], parts["chosen"]
        state = self._optimizer.state_dict()
        state["state"] = {}
        for name, tensor in parts["optimizer"].items():
            number, _, key = name.partition("/")
            state["state"].setdefault(int(number), {})[key] = tensor
        self._optimizer.load_state_dict(state)
        self.epoch, self.best = note["epoch"], note["best"]

    def _save(self) -> None:
        held = {f"model/{name}": t for name, t in self._model.state_dict().items()}
        held |= {f"average/{name}": t for name, t in self._average.items()}
        held |= {f"chosen/{name}": t for name, t in self.chosen.items()}
        for number, state in self._optimizer.state_dict()["state"].items():
            held |= {f"optimizer/{number}/{key}": value for key, value in state.items()}
        self._kept.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: t.clone().contiguous() for name, t in held.items()}, self._kept)
        note = {"how": asdict(self._how), "epoch": self.epoch, "best": self.best}
        (self._kept.parent / "run.json").write_text(json.dumps(note), "utf-8")

    def train_epoch(self, rows: list[list[int]], labels: list[int]) -> float:
        """Train on every sentence once; return the mean loss."""
        how, model = self._how, self._model
        random = np.random.default_rng((how.seed, self.epoch))
        torch.manual_seed(how.seed * 1000 + self.epoch)
        order = random.permutation(len(rows))
        n_steps = math.ceil(len(rows) / how.batch_size)
        model.train()
        total = 0.0
        for step in range(n_steps):
            chosen = order[step * how.batch_size : (step + 1) * how.batch_size]
            ids = _batch([rows[k] for k in chosen])
            masked = (torch.rand(ids.shape) < how.masked) & (ids > _MASK)
            ids = ids.masked_fill(masked, _MASK)
            done = (self.epoch + step / n_steps) / how.n_epochs
            for group in self._optimizer.param_groups:
                group["lr"] = (
                    how.rate * min(1.0, 10 * done + 0.05) * 0.5 * (1 + math.cos(math.pi * done))
                )
            logits = model(input_ids=ids, attention_mask=(ids != _PAD).long()).logits
            wanted = torch.tensor([labels[k] for k in chosen])
            loss = functional.cross_entropy(logits, wanted, label_smoothing=0.05)
            self._optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            self._optimizer.step()
            total += loss.item() / n_steps
            with torch.no_grad():
                for name, tensor in model.state_dict().items():
                    if tensor.is_floating_point():
                        self._average[name].lerp_(tensor, 1 - how.average)
        self.epoch += 1
        return total

    def judge(self, rows: list[list[int]], labels: list[int]) -> float:
        """Measure the averaged weights on held-out sentences, keep the best and save the run."""
        own = {name: t.clone() for name, t in self._model.state_dict().items()}
        self._model.load_state_dict(self._average)
        found = accuracy(self._model, rows, labels)
        if found >= self.best:
            self.best = found
            self.chosen = {name: t.clone() for name, t in self._average.items()}
        self._model.load_state_dict(own)
        self._save()
        return found


def train(data: Path, out: Path, kept: Path, how: Training) -> float:
    """Train, write the model folder and return the accuracy on the development sentences."""
    rows = read_sentences(data / "train.tsv")
    np.random.default_rng(how.seed).shuffle(rows)  # type: ignore[arg-type] # shuffled in place
    tokenizer = learn_tokenizer([text for text, _ in rows], how.n_vocab)

    def encoded(pairs: list[tuple[str, int]]) -> tuple[list[list[int]], list[int]]:
        ids = tokenizer([text for text, _ in pairs], truncation=True)["input_ids"]
        return ids, [label for _, label in pairs]

    held, rest = encoded(rows[: how.n_held]), encoded(rows[how.n_held :])
    model = new_model(how, len(tokenizer))
    run = Trainer(how, model, kept / "run.safetensors")
    while run.epoch < how.n_epochs:
        loss = run.train_epoch(*rest)
        log.info("epoch %d: loss %.3f, held out %.1f %%", run.epoch, loss, 100 * run.judge(*held))
    model.load_state_dict(run.chosen)
    dev = encoded(read_sentences(data / "dev.tsv"))
    found = accuracy(model, *dev)
    write(model, tokenizer, out, how, (len(rest[0]), run.best, found, len(dev[0])))
    return found


def write(
    model: BertForSequenceClassification,
    tokenizer: PreTrainedTokenizerFast,
    out: Path,
    how: Training,
    measured: tuple[int, float, float, int],
) -> None:
    """Write the model folder and its card."""
    out.mkdir(parents=True, exist_ok=True)
    model.eval().save_pretrained(out)
    tokenizer.save_pretrained(out)
    n_train, held, dev, n_dev = measured
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    card: dict[str, Any] = {
        "n": f"{n_parameters:,}", "vocab": len(tokenizer), "epochs": how.n_epochs,
        "train": f"{n_train:,}", "n_held": how.n_held, "held": f"{held:.1%}", "dev": f"{dev:.1%}",
        "n_dev": n_dev, "layers": how.n_layers, "d": how.d_model, "heads": how.n_heads,
        "mlp": how.d_mlp, "masked": f"{how.masked:.0%}", "seed": how.seed,
    }  # fmt: skip
    (out / "README.md").write_text(_CARD.format(**card), "utf-8")


_CARD = """---
library_name: transformers
pipeline_tag: text-classification
---

# Sentiment

A small BERT that tells praise from blame in one sentence about a film: {layers} layers, d_model
{d}, {heads} heads, MLPs of width {mlp}, {n} parameters, {vocab} lower-case word pieces of its own.

Trained from nothing by `python -m circuitscope.examples.sentiment_training`: {train} sentences of
SST-2 (Socher et al. 2013), {epochs} epochs, AdamW, {masked} of the tokens masked, weights averaged,
seed {seed}. The epoch was chosen on {n_held} training sentences held out. The sentences themselves
are not part of this folder.

| sentences | right |
|---|---|
| held out, used to choose the epoch | {held} |
| development, {n_dev}, not used to choose anything about this run | {dev} |

It is an example to look for circuits in, not a tool: it knows the words of film reviews, is sure
where it should not be, and mishears most negations that its training sentences do not contain.
"""


def main() -> None:
    """Train from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with train.tsv and dev.tsv")
    parser.add_argument(
        "--out", type=Path, default=shipped_path("projects") / "sentiment" / "model"
    )
    parser.add_argument("--kept", type=Path, default=Path("build/sentiment"))
    parser.add_argument("--epochs", type=int, default=Training().n_epochs)
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    found = train(chosen.data, chosen.out, chosen.kept, Training(n_epochs=chosen.epochs))
    log.info("development sentences: %.1f %% right", 100 * found)


if __name__ == "__main__":
    main()
