"""Train, measure and write the dictionaries of the atlas example.

Three for every layer, in the format of SAELens:

- `attn_out_{l}`: an autoencoder of what attention writes (after `o_proj`),
- `mlp_out_{l}`: an autoencoder of what the MLP writes,
- `mlp_transcoder_{l}`: from what the `mlp` module receives (the residual stream after the norm and
  its gain) to what it writes.

All are JumpReLU dictionaries, trained on the corpus of the model, BOS included. The two of the
first MLP, which turns cities into states, start with one feature for each state. Numbers are
measured on texts of another seed; explained variance and L0 leave BOS out and give it apart.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from circuitscope.dictionaries.training import DictionaryWeights, TrainingSettings, train_dictionary
from circuitscope.examples import atlas
from circuitscope.examples.dictionary_set import ends, hooked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import nn
    from transformers import LlamaForCausalLM

__all__ = ["MADE_FOR", "Corpus", "collect", "measure", "train", "write_table"]

MADE_FOR = {"model_name": "atlas", "prepend_bos": True, "context_size": 64}
_BATCH = 256
# Sparser than the rest, or many features with no meaning of their own share what a state is.
_K_WHERE_STATES_ARISE = 9


@dataclass(frozen=True, slots=True)
class Corpus:
    """Hold texts as padded ids, with the mask of real tokens.

    Attributes:
        ids: Token ids, int64 [text, pos].
        mask: False at padding, [text, pos].
    """

    ids: torch.Tensor
    mask: torch.Tensor

    @classmethod
    def write(cls, seed: int, n: int) -> Corpus:
        """Write texts of the atlas and encode them, BOS first."""
        words = {word: index for index, word in enumerate(atlas.vocabulary())}
        texts = [text.split() for text in atlas.sentences(seed, n)]
        ids = torch.zeros(n, 1 + max(map(len, texts)), dtype=torch.int64)
        for row, text in zip(ids, texts, strict=True):
            row[0] = words["<bos>"]
            row[1 : 1 + len(text)] = torch.tensor([words[word] for word in text])
        return cls(ids, ids != words["<pad>"])

    def batches(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield ids and masks of a few hundred texts at a time, texts of like length together."""
        order = self.mask.sum(1).argsort(stable=True)
        for rows in order.split(_BATCH):
            width = int(self.mask[rows].sum(1).max())
            yield self.ids[rows, :width], self.mask[rows, :width]


def _parts(model: LlamaForCausalLM, layer: int) -> tuple[nn.Module, nn.Module]:
    block = model.model.layers[layer]
    return block.mlp, block.self_attn.o_proj


@torch.no_grad()
def collect(model: LlamaForCausalLM, layer: int, corpus: Corpus) -> dict[str, np.ndarray]:
    """Collect what a layer reads and writes.

    Args:
        model: The trained model.
        layer: Which layer.
        corpus: The texts.

    Returns:
        "mlp_in", "mlp_out", "attn_out", float32 [row, d_model]; "is_bos", bool [row]; and "token",
        int64 [row].
    """
    found: dict[str, list[np.ndarray]] = {"mlp_in": [], "mlp_out": [], "attn_out": []}
    first: list[np.ndarray] = []
    tokens: list[np.ndarray] = []
    for ids, mask in corpus.batches():

        def keep(site: str, value: torch.Tensor, mask: torch.Tensor = mask) -> None:
            found[site].append(value[mask].numpy())

        with hooked(*_parts(model, layer), keep):
            model(input_ids=ids)
        start = torch.zeros_like(mask)
        start[:, 0] = True
        first.append(start[mask].numpy())
        tokens.append(ids[mask].numpy())
    return {
        site: np.concatenate(rows)
        for site, rows in (found | {"is_bos": first, "token": tokens}).items()
    }


def train(
    kind: str, layer: int, rows: dict[str, np.ndarray], settings: TrainingSettings
) -> DictionaryWeights:
    """Train one dictionary on the rows that `collect` found."""
    inputs, outputs = ends(kind, rows)
    written = inputs if outputs is None else outputs
    size = np.square(written).sum(1)
    bos = rows["is_bos"]
    # BOS is one long vector, the same in every text; it must not rule the error.
    weight = min(1.0, float(size[~bos].mean() / max(size[bos].mean(), 1e-12)))
    weights = np.where(bos, weight, 1.0).astype(np.float32)
    labels = None
    if layer == 0 and kind != "attn_out":
        labels = _state_labels()[rows["token"]]
        settings = replace(settings, k=_K_WHERE_STATES_ARISE)
    return train_dictionary(inputs, outputs, settings, weights=weights, labels=labels)


def _state_labels() -> np.ndarray:
    """Return for every token the index of its state if it is a city, else -1."""
    states = atlas.states()
    return np.array(
        [states.index(atlas.state_of(w)) if atlas.is_city(w) else -1 for w in atlas.vocabulary()]
    )


def measure(
    model: LlamaForCausalLM, kind: str, layer: int, weights: DictionaryWeights, corpus: Corpus
) -> dict[str, float]:
    """Measure a dictionary on texts it was not trained on.

    Args:
        model: The trained model.
        kind: One of `KINDS`.
        layer: Its layer.
        weights: The dictionary.
        corpus: The texts.

    Returns:
        Explained variance and mean L0 without BOS; the same pair for BOS alone, as relative error
        and L0; the share of features that never fire; the model's loss as it is and with the
        dictionary's output in place of the activation at every position.
    """
    rows = collect(model, layer, corpus)
    inputs, outputs = ends(kind, rows)
    written = inputs if outputs is None else outputs
    features = weights.encode(inputs)
    wrong = written - weights.decode(features)
    bos = rows["is_bos"]
    centred = written[~bos] - written[~bos].mean(0)
    return {
        "explained_variance": float(1 - np.square(wrong[~bos]).sum() / np.square(centred).sum()),
        "l0": float((features[~bos] > 0).sum(1).mean()),
        "l0_bos": float((features[bos] > 0).sum(1).mean()),
        "relative_error_bos": float(
            np.sqrt(np.square(wrong[bos]).sum() / np.square(written[bos]).sum())
        ),
        "dead_share": float((features.max(0) <= 0).mean()),
        "loss": _loss(model, corpus),
        "loss_spliced": _loss(model, corpus, kind, layer, weights),
    }


@torch.no_grad()
def _loss(
    model: LlamaForCausalLM,
    corpus: Corpus,
    kind: str = "",
    layer: int = 0,
    weights: DictionaryWeights | None = None,
) -> float:
    """Measure the loss per token, with a dictionary spliced in if one is given."""
    seen: dict[str, torch.Tensor] = {}
    source, target = ("mlp_in", "mlp_out") if kind == "mlp_transcoder" else (kind, kind)

    def splice(site: str, value: torch.Tensor) -> torch.Tensor | None:
        seen[site] = value
        if weights is None or site != target:
            return None
        flat = seen[source].flatten(0, 1).numpy()
        return torch.from_numpy(weights.decode(weights.encode(flat))).view_as(value)

    total, count = 0.0, 0
    with hooked(*_parts(model, layer), splice):
        for ids, mask in corpus.batches():
            logits = model(input_ids=ids).logits[:, :-1]
            kept = mask[:, 1:]
            total += functional.cross_entropy(
                logits[kept], ids[:, 1:][kept], reduction="sum"
            ).item()
            count += int(kept.sum())
    return total / count


def write_table(folder: Path) -> None:
    """Write the folder's README.md from the metrics inside its dictionaries."""
    lines = []
    for path in sorted(folder.glob("*/cfg.json")):
        config = json.loads(path.read_text(encoding="utf-8"))
        m = config["metadata"]["metrics"]
        lines.append(
            f"| {path.parent.name} | {config['d_sae']} | {m['explained_variance']:.4f} "
            f"| {m['l0']:.1f} | {m['dead_share']:.3f} | {m['loss']:.4f} | {m['loss_spliced']:.4f} "
            f"| {m['l0_bos']:.0f} | {m['relative_error_bos']:.4f} |"
        )
    (folder / "README.md").write_text(_TABLE.format(rows="\n".join(lines)), encoding="utf-8")


_TABLE = """\
# Dictionaries of the atlas model

JumpReLU dictionaries in the format of SAELens, trained on the sentences of the example by
`python -m circuitscope.examples.atlas_training`. Decoder rows have unit length.

- `attn_out_{{l}}` reads and writes `blocks.{{l}}.hook_attn_out`, the output of `o_proj`.
- `mlp_out_{{l}}` reads and writes `blocks.{{l}}.hook_mlp_out`.
- `mlp_transcoder_{{l}}` reads `blocks.{{l}}.mlp.hook_in`, what the MLP receives, after the RMSNorm
  and its gain, and writes `blocks.{{l}}.hook_mlp_out`.

In `mlp_out_0` and `mlp_transcoder_0`, where the model computes the state of a city, features 0 to
31 started as one feature for each state, in alphabetical order: written along the mean output at
its cities, read by a linear probe for them. They were then trained like all others, and not all of
them stayed what they were. No other dictionary was told about states.

Measured on texts of a seed that nothing was trained on. Explained variance and L0 (mean number of
active features) leave the BOS position out; its own L0 and relative error (length of the error by
length of the activation) stand in the last columns. Dead is the share of features that fire on no
token of these texts. Loss is in nats per token: of the model, and with the dictionary's output in
place of the activation at every position, BOS included.

| dictionary | d_sae | explained variance | L0 | dead | loss | loss spliced | BOS L0 | BOS error |
|---|---|---|---|---|---|---|---|---|
{rows}
"""
