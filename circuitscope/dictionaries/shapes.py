"""Check that a file's tensors are all there and fit each other, from their shapes alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from circuitscope.core.errors import DictionaryError, DictionaryMismatch
from circuitscope.dictionaries.dictionary import DictionaryWeights

AGAIN = "Download or copy the folder again."


def need(tensors: Mapping[str, Tensor], names: Sequence[str], file: Path) -> None:
    """Refuse a file that lacks one of these tensors.

    Raises:
        DictionaryError: The message names what is missing and what is there.
    """
    missing = [name for name in names if name not in tensors]
    if missing:
        there = ", ".join(sorted(tensors)[:12]) or "nothing"
        raise DictionaryError(
            f"{_named(file)} has no {', '.join(missing)}; it holds {there}.", hint=AGAIN
        )


def check_weights(
    weights: DictionaryWeights, file: Path, d_in: int | None = None, n_features: int | None = None
) -> tuple[int, int, int]:
    """Return d_in, d_out and the number of features.

    Args:
        weights: A dictionary's tensors; meta tensors will do.
        file: Where they are from.
        d_in: What the settings say, where they do.
        n_features: What the settings say, where they do.

    Raises:
        DictionaryMismatch: Shapes contradict each other or the settings.
    """
    for name in ("W_enc", "W_dec"):
        if getattr(weights, name).ndim != 2:
            _refuse(file, name, getattr(weights, name), "[d_in, feature] and [feature, d_out]")
    w_in, n = weights.W_enc.shape
    w_out = weights.W_dec.shape[1]
    expected: dict[str, tuple[int, ...]] = {
        "W_enc": (d_in or w_in, n_features or n), "b_enc": (n,),
        "W_dec": (n, w_out), "b_dec": (w_out,), "threshold": (n,), "W_skip": (w_out, w_in),
        "read_scale": (n,), "rank_scale": (n,),
    }  # fmt: skip
    for name, wanted in expected.items():
        found = getattr(weights, name)
        if found is not None and tuple(found.shape) != wanted:
            _refuse(file, name, found, str(list(wanted)))
    for later in weights.W_dec_later:
        if tuple(later.shape) != (n, w_out):
            _refuse(file, "W_dec", later, str([n, w_out]))
    return w_in, w_out, n


def _refuse(file: Path, name: str, found: Tensor, wanted: str) -> None:
    raise DictionaryMismatch(
        f"{name} of {_named(file)} has the shape {list(found.shape)}, but {wanted} is needed.",
        hint=AGAIN,
    )


def _named(file: Path) -> str:
    return f"{file.parent.name}/{file.name}"
