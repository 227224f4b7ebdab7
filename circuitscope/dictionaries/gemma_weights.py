"""The layout of Gemma Scope's files, which two formats meet: JumpReLU in SAELens' orientation.

Gemma Scope 2 spells names in lower case and may add an affine skip connection, applied as
x A in the transcoders of one layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from circuitscope.dictionaries.dictionary import DictionaryWeights
from circuitscope.dictionaries.shapes import need

_NAMES = {"w_enc": "W_enc", "w_dec": "W_dec"}


def is_gemma_layout(file: Path, tensors: Mapping[str, Tensor]) -> bool:
    """Say whether a file is laid out as Gemma Scope's are."""
    return file.suffix == ".npz" or "w_enc" in tensors


def gemma_weights(tensors: Mapping[str, Tensor], file: Path) -> DictionaryWeights:
    """Return the weights of a file; meta tensors give their shapes.

    Raises:
        DictionaryError: Tensors are missing.
    """
    known = {_NAMES.get(name, name): tensor for name, tensor in tensors.items()}
    need(known, ("W_enc", "b_enc", "W_dec", "b_dec", "threshold"), file)
    skip = known.get("affine_skip_connection")
    return DictionaryWeights(
        known["W_enc"], known["b_enc"].float(), known["W_dec"], known["b_dec"].float(),
        known["threshold"].float(), None if skip is None else skip.T.float(),
    )  # fmt: skip
