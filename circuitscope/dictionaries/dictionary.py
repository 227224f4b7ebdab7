"""A sparse dictionary: an encoder that reads one site and a decoder that writes one.

The interface is rows, never whole matrices: what a feature reads (its encoder row), what it
writes (its decoder row) and the constants between. Every activation is a rule on the
pre-activations h = x W_enc + b_enc:

- ReLU: max(h, 0);
- JumpReLU: max(h, 0) where h exceeds the feature's threshold; circuit-tracer's is h there, which
  a threshold below zero lets be negative;
- TopK: max(h, 0) for the k largest of a position; circuit-tracer's keeps negative ones too;
- gated (Rajamanoharan et al. 2024): its gate x W + b_gate > 0 and its magnitude
  x W exp(r) + b_mag share W, so it is a JumpReLU on the magnitude with threshold
  b_mag - b_gate exp(r); readers hand it over in that form.

Matrices may lie in a memory-mapped file, in float32 or half precision and in either
orientation: encoding walks them in blocks and computes in float32, rows of active features are
read in ascending order, each once. So a set larger than memory costs reading, not memory.

A cross-layer transcoder is one `Dictionary` of several layers; `layer` gives the part that reads
one of them, whose decoder rows are asked for by the layer they are written to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.core.dictionary import DictionaryCard
from circuitscope.evidence.file import find
from circuitscope.evidence.pages import DictionaryEvidence
from circuitscope.evidence.records import EvidenceMissing

_BLOCK = 16_000_000
"""Numbers of an encoder that are converted or moved at once: 64 MB in float32."""
_MOST_PREACTIVATIONS = 128_000_000


def relu(h: Tensor) -> Tensor:
    """Return max(h, 0)."""
    return h.clamp(min=0)


def jump_relu(h: Tensor, threshold: Tensor) -> Tensor:
    """Return max(h, 0) where h exceeds the threshold [feature], else 0."""
    return torch.where(h > threshold, h.clamp(min=0), 0.0)


def top_k(h: Tensor, k: int, rank: Tensor | None = None) -> Tensor:
    """Return max(h, 0) for the k largest of the last axis, else 0."""
    return signed_top_k(h, k, rank).clamp(min=0)


def signed_top_k(h: Tensor, k: int, rank: Tensor | None = None) -> Tensor:
    """Return h for the k largest of the last axis, negative or not, else 0.

    Args:
        h: Pre-activations, [pos, feature].
        k: How many are kept.
        rank: Factors, [feature], of what is compared; None compares h itself.
    """
    compared = h if rank is None else h * rank
    best = compared.topk(min(k, h.shape[-1]), dim=-1).indices
    return torch.zeros_like(h).scatter(-1, best, h.gather(-1, best))


@dataclass(frozen=True, slots=True, eq=False)
class DictionaryWeights:
    """Hold a dictionary's tensors in SAELens' orientation; of a CLT, those of one layer.

    Matrices may be views of a mapped file, in any floating type; vectors are float32.

    Attributes:
        W_enc: [d_in, feature]; b_enc: [feature].
        W_dec: [feature, d_out]; b_dec: [d_out].
        threshold: JumpReLU and gated only, [feature].
        W_skip: Adds x W_skip^T to the output, [d_out, d_in].
        read_scale: Factor of each encoder column, [feature]; None is one.
        write_scale: Factor of each decoder row, [feature], of a CLT [written layer, feature];
            None is one.
        rank_scale: TopK only: factor by which pre-activations are compared, [feature].
        W_dec_later: What a CLT writes to the layers after the one it reads, each [feature, d_out].
    """

    W_enc: Tensor
    b_enc: Tensor
    W_dec: Tensor
    b_dec: Tensor
    threshold: Tensor | None = None
    W_skip: Tensor | None = None
    read_scale: Tensor | None = None
    write_scale: Tensor | None = None
    rank_scale: Tensor | None = None
    W_dec_later: tuple[Tensor, ...] = ()

    def to(self, device: torch.device | str) -> DictionaryWeights:
        """Return the weights on a device."""
        moved = {
            field.name: value.to(device)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        later = tuple(matrix.to(device) for matrix in self.W_dec_later)
        return replace(self, **moved, W_dec_later=later)


@dataclass(frozen=True, slots=True, eq=False)
class ActiveFeatures:
    """The active features of one dictionary on one prompt, sorted by position, then unit.

    Attributes:
        position: int64 [n]; unit: int64 [n].
        value: Activations, [n]; preactivation: what the encoder read, [n].
    """

    position: Tensor
    unit: Tensor
    value: Tensor
    preactivation: Tensor

    def __len__(self) -> int:
        return len(self.unit)


class Dictionary:
    """Encode and decode activations, and give single rows of both matrices.

    Args:
        card: Its description.
        weights: Its tensors; of a cross-layer transcoder one for each of the card's layers.
    """

    def __init__(
        self, card: DictionaryCard, weights: DictionaryWeights | Sequence[DictionaryWeights]
    ) -> None:
        self.card = card
        parts = [weights] if isinstance(weights, DictionaryWeights) else list(weights)
        assert len(parts) == len(card.layers), "one set of weights a layer"
        self._parts = dict(zip(card.layers, parts, strict=True))

    def __repr__(self) -> str:
        return f"Dictionary({self.card.name!r}, {self.card.n_features} features)"

    @property
    def weights(self) -> DictionaryWeights:
        """Return its tensors; of a cross-layer transcoder choose a layer first."""
        assert len(self._parts) == 1, "choose a layer of a cross-layer transcoder first"
        return next(iter(self._parts.values()))

    def evidence(self) -> DictionaryEvidence:
        """Return what was collected about its features, from the file in its set's folder.

        Raises:
            EvidenceMissing: Nothing has been collected.
        """
        layer, folder = self.card.layers[0], self.card.path
        file = find(folder, self.card.digest, layer)
        if file is None:
            raise EvidenceMissing(
                f"No evidence has been collected for {self.card.name}.",
                hint="Collect it from a corpus with collect(model, dictionaries, corpus).",
            )
        return DictionaryEvidence(file, self.card.digest, layer)

    def described(self, card: DictionaryCard) -> Dictionary:
        """Return the same dictionary under another card."""
        return Dictionary(card, list(self._parts.values()))

    def reading(self, site: Site) -> Dictionary:
        """Return the same dictionary reading another site; an autoencoder writes there too."""
        return self.described(self.card.reading(site))

    def to(self, device: torch.device | str) -> Dictionary:
        """Return the dictionary with its tensors on a device."""
        return Dictionary(self.card, [part.to(device) for part in self._parts.values()])

    def layer(self, layer: int) -> Dictionary:
        """Return the part that reads a layer: itself for a dictionary of one layer."""
        if len(self._parts) == 1:
            return self
        return Dictionary(replace(self.card, layers=(layer,)), self._parts[layer])

    @property
    def written_layers(self) -> range:
        """Return the layers this part writes to: its own, and of a CLT all later ones."""
        first = self.card.layers[0]
        return range(first, first + 1 + len(self.weights.W_dec_later))

    def preactivations(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """Return what every feature reads from x [pos, d_in], [pos, feature].

        Head outputs may also come as [pos, head, d_head].

        Args:
            x: What is read.
            out: Where to put it, [pos, feature]; spares memory that is asked for again and again.
        """
        w = self.weights
        seen = self._seen(x)
        n_in, n = w.W_enc.shape
        ready = w.W_enc.dtype == seen.dtype and w.W_enc.device == seen.device
        step = n if ready else max(1, _BLOCK // n_in)
        constant, scale = w.b_enc.to(seen), w.read_scale
        if ready and scale is None:
            plain = seen @ w.W_enc if out is None else torch.matmul(seen, w.W_enc, out=out)
            return plain.add_(constant)
        blocks = []
        for start in range(0, n, step):
            here = slice(start, start + step)
            block = seen @ w.W_enc[:, here].to(seen)
            blocks.append(block if scale is None else block * scale[here].to(seen))
        return torch.cat(blocks, dim=1).add_(constant)

    def activate(self, h: Tensor) -> Tensor:
        """Apply the nonlinearity to pre-activations [pos, feature]."""
        if self.card.k is not None:
            rank = self.weights.rank_scale
            keep = signed_top_k if self.card.keeps_negative else top_k
            return keep(h, self.card.k, None if rank is None else rank.to(h))
        if self.weights.threshold is not None:
            threshold = self.weights.threshold.to(h)
            if self.card.keeps_negative:
                return torch.where(h > threshold, h, 0.0)
            return jump_relu(h, threshold)
        return relu(h)

    def encode(self, x: Tensor) -> ActiveFeatures:
        """Return the active features of x [pos, d_in]."""
        n = max(1, _MOST_PREACTIVATIONS // self.card.n_features)
        found = []
        for start in range(0, max(1, len(x)), n):
            h = self.preactivations(x[start : start + n])
            values = self.activate(h)
            position, unit = at = values.nonzero(as_tuple=True)
            found.append((position + start, unit, values[at], h[at]))
        return ActiveFeatures(*(torch.cat(column) for column in zip(*found, strict=True)))

    def encoder_rows(self, ids: Tensor) -> Tensor:
        """Return the directions that features read, [feature, d_in]."""
        w = self.weights
        return self._centred(_rows(w.W_enc.T, ids, w.read_scale))

    def encoder_constants(self, ids: Tensor) -> Tensor:
        """Return what features read whatever the input: b_enc, less a subtracted b_dec."""
        w = self.weights
        constants = w.b_enc[ids.to(w.b_enc.device)].to(ids.device)
        if self.card.decoder_bias_subtracted:
            rows = _rows(w.W_enc.T, ids, w.read_scale)
            constants = constants - rows @ w.b_dec.to(ids.device)
        return constants

    def decoder_rows(self, ids: Tensor, to_layer: int | None = None) -> Tensor:
        """Return what features write per unit of activation, [feature, d_out].

        Args:
            ids: Features.
            to_layer: One of `written_layers`; None is the layer that they read.
        """
        w = self.weights
        step = 0 if to_layer is None else to_layer - self.card.layers[0]
        assert 0 <= step <= len(w.W_dec_later), "it does not write to that layer"
        scale = w.write_scale
        if scale is not None and scale.ndim == 2:
            scale = scale[step]
        return _rows(w.W_dec_later[step - 1] if step else w.W_dec, ids, scale)

    @property
    def decoder_bias(self) -> Tensor:
        """Return what is written to its own layer whatever the input, [d_out]."""
        return self.weights.b_dec

    @property
    def skip(self) -> Tensor | None:
        """Return W_skip [d_out, d_in], by which the input passes straight to the output."""
        return self.weights.W_skip

    def decode(self, features: ActiveFeatures, n_pos: int, x: Tensor | None = None) -> Tensor:
        """Rebuild the output from active features; of a CLT's part, its share in its own layer.

        Args:
            features: Active features, as `encode` returns them.
            n_pos: Number of positions.
            x: The input, [pos, d_in]; needed where the dictionary has a skip, normalises its
                input, or was trained on centred vectors, whose mean is then restored.

        Returns:
            The reconstruction, [pos, d_out].
        """
        out = self.written(features, n_pos, x)
        if x is not None and self.card.restores_mean:
            out += x.flatten(1).to(out).mean(-1, keepdim=True)
        return out

    def written(self, features: ActiveFeatures, n_pos: int, x: Tensor | None = None) -> Tensor:
        """Return what features, bias and skip write, [pos, d_out]: `decode` without the mean.

        A tracer's errors are differences from this, so that no part of the output is lost.
        """
        rows = features.value[:, None] * self.decoder_rows(features.unit).to(features.value)
        out = self.decoder_bias.to(rows).expand(n_pos, -1).clone()
        out.index_add_(0, features.position, rows)
        if self.card.scales_input:
            assert x is not None, "a normalising dictionary needs the input"
            out *= self.scale(x).to(out)[:, None]
        if self.skip is not None:
            assert x is not None, "a skip needs the input"
            out += x.to(out) @ self.skip.T.to(out)
        return out

    def scale(self, x: Tensor) -> Tensor:
        """Return by what each position of x [pos, d_in] is divided before encoding, [pos]."""
        flat = x.flatten(1)
        if self.card.input_norm == "layer_norm":
            # SAELens' own: sample deviation, epsilon outside.
            deviation: Tensor = flat.std(dim=-1) + 1e-5
            return deviation
        if self.card.input_norm == "constant_norm_rescale":
            length: Tensor = torch.linalg.vector_norm(flat, dim=-1)
            mean: Tensor = length / flat.shape[-1] ** 0.5
            return mean
        return flat.new_ones(len(flat))

    def _seen(self, x: Tensor) -> Tensor:
        """Return the vectors that meet the encoder, float32, or float64 where x is."""
        flat = x.flatten(1)
        seen = self._centred(flat if flat.dtype == torch.float64 else flat.float())
        if self.card.scales_input:
            seen = seen / self.scale(flat).to(seen)[:, None]
        if self.card.decoder_bias_subtracted:
            seen = seen - self.weights.b_dec.to(seen)
        return seen

    def _centred(self, x: Tensor) -> Tensor:
        # Centring is symmetric, so centring the encoder's row is centring its input.
        centred = self.card.input_norm in ("centred", "layer_norm")
        return x - x.mean(-1, keepdim=True) if centred else x


def _rows(matrix: Tensor, ids: Tensor, scale: Tensor | None) -> Tensor:
    """Return rows in float32 on the device of ids; each is read once, in ascending order."""
    ids = torch.as_tensor(ids)
    needed, inverse = torch.unique(ids, return_inverse=True)
    there = needed.to(matrix.device)
    rows = matrix.index_select(0, there).to(ids.device, torch.float32)
    if scale is not None:
        rows = rows * scale.to(ids.device)[needed][:, None]
    return rows[inverse]


__all__ = [
    "ActiveFeatures", "Dictionary", "DictionaryWeights", "jump_relu", "relu", "signed_top_k",
    "top_k",
]  # fmt: skip
