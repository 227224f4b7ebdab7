"""A sparse dictionary: an encoder that reads one site and a decoder that writes one.

The interface is rows, never whole matrices: what a feature reads (its encoder row), what it
writes (its decoder row) and the constants between. Every activation is a rule on the
pre-activations h = x W_enc + b_enc:

- ReLU: max(h, 0);
- JumpReLU: max(h, 0) where h exceeds the feature's threshold;
- TopK: max(h, 0) for the k largest of a position;
- gated (Rajamanoharan et al. 2024): its gate x W + b_gate > 0 and its magnitude
  x W exp(r) + b_mag share W, so it is a JumpReLU on the magnitude with threshold
  b_mag - b_gate exp(r); readers hand it over in that form.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from circuitscope.core.dictionary import DictionaryCard


def relu(h: Tensor) -> Tensor:
    """Return max(h, 0)."""
    return h.clamp(min=0)


def jump_relu(h: Tensor, threshold: Tensor) -> Tensor:
    """Return max(h, 0) where h exceeds the threshold [feature], else 0."""
    return torch.where(h > threshold, h.clamp(min=0), 0.0)


def top_k(h: Tensor, k: int) -> Tensor:
    """Return max(h, 0) for the k largest of the last axis, else 0."""
    largest = h.topk(min(k, h.shape[-1]), dim=-1)
    return torch.zeros_like(h).scatter(-1, largest.indices, largest.values.clamp(min=0))


@dataclass(frozen=True, slots=True, eq=False)
class DictionaryWeights:
    """Hold a dictionary's tensors in SAELens' orientation.

    Attributes:
        W_enc: [d_in, feature]; b_enc: [feature].
        W_dec: [feature, d_out]; b_dec: [d_out].
        threshold: JumpReLU and gated only, [feature].
        W_skip: Adds x W_skip^T to the output, [d_out, d_in].
    """

    W_enc: Tensor
    b_enc: Tensor
    W_dec: Tensor
    b_dec: Tensor
    threshold: Tensor | None = None
    W_skip: Tensor | None = None


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
        weights: Its tensors.
    """

    def __init__(self, card: DictionaryCard, weights: DictionaryWeights) -> None:
        self.card = card
        self.weights = weights

    def __repr__(self) -> str:
        return f"Dictionary({self.card.name!r}, {self.card.n_features} features)"

    def to(self, device: torch.device | str) -> Dictionary:
        """Return the dictionary with its tensors on a device."""
        w = self.weights
        threshold = None if w.threshold is None else w.threshold.to(device)
        skip = None if w.W_skip is None else w.W_skip.to(device)
        encoder, decoder = (w.W_enc.to(device), w.b_enc.to(device)), (w.W_dec, w.b_dec)
        written = (decoder[0].to(device), decoder[1].to(device))
        return Dictionary(self.card, DictionaryWeights(*encoder, *written, threshold, skip))

    def preactivations(self, x: Tensor) -> Tensor:
        """Return what every feature reads from x [pos, d_in], [pos, feature]."""
        w = self.weights
        seen = self._centred(x.to(w.W_enc.dtype))
        if self.card.decoder_bias_subtracted:
            seen = seen - w.b_dec
        return seen @ w.W_enc + w.b_enc

    def activate(self, h: Tensor) -> Tensor:
        """Apply the nonlinearity to pre-activations [pos, feature]."""
        if self.card.k is not None:
            return top_k(h, self.card.k)
        if self.weights.threshold is not None:
            return jump_relu(h, self.weights.threshold)
        return relu(h)

    def encode(self, x: Tensor) -> ActiveFeatures:
        """Return the active features of x [pos, d_in]."""
        h = self.preactivations(x)
        values = self.activate(h)
        position, unit = values.nonzero(as_tuple=True)
        at = (position, unit)
        return ActiveFeatures(position, unit, values[at], h[at])

    def encoder_rows(self, ids: Tensor) -> Tensor:
        """Return the directions that features read, [feature, d_in]."""
        rows = self.weights.W_enc[:, ids].T
        return self._centred(rows)

    def encoder_constants(self, ids: Tensor) -> Tensor:
        """Return what features read whatever the input: b_enc, less a subtracted b_dec."""
        w = self.weights
        constants = w.b_enc[ids]
        if self.card.decoder_bias_subtracted:
            constants = constants - w.b_dec @ w.W_enc[:, ids]
        return constants

    def decoder_rows(self, ids: Tensor) -> Tensor:
        """Return what features write per unit of activation, [feature, d_out]."""
        return self.weights.W_dec[ids]

    @property
    def decoder_bias(self) -> Tensor:
        """Return what is written whatever the input, [d_out]."""
        return self.weights.b_dec

    @property
    def skip(self) -> Tensor | None:
        """Return W_skip [d_out, d_in], by which the input passes straight to the output."""
        return self.weights.W_skip

    def decode(self, features: ActiveFeatures, n_pos: int, x: Tensor | None = None) -> Tensor:
        """Rebuild the output from active features.

        Args:
            features: Active features, as `encode` returns them.
            n_pos: Number of positions.
            x: The input, [pos, d_in]; needed where the dictionary has a skip.

        Returns:
            The reconstruction, [pos, d_out].
        """
        written = features.value[:, None] * self.decoder_rows(features.unit)
        out = self.decoder_bias.expand(n_pos, -1).clone()
        out.index_add_(0, features.position, written)
        if self.skip is not None:
            assert x is not None, "a skip needs the input"
            out += x.to(out.dtype) @ self.skip.T
        return out

    def _centred(self, x: Tensor) -> Tensor:
        # Centring is symmetric, so centring the encoder's row is centring its input.
        return x - x.mean(-1, keepdim=True) if self.card.input_norm == "centred" else x


__all__ = ["ActiveFeatures", "Dictionary", "DictionaryWeights", "jump_relu", "relu", "top_k"]
