"""dictionary_learning (Marks et al.): a folder with ae.pt and config.json.

ae.pt is the one format here that is a pickle: `torch_files` opens it with torch's restricted
reader, and what it returns is kept only if it is a mapping of names to tensors.

Encoders read x - b_dec but for JumpReLU and AutoEncoderNew. BatchTopK is read by the threshold it
learned; without one, each position keeps its k largest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from circuitscope.core.anatomy import Site
from circuitscope.core.dictionary import DictionaryCard
from circuitscope.core.errors import DictionaryError
from circuitscope.dictionaries.dictionary import Dictionary, DictionaryWeights
from circuitscope.dictionaries.hook_names import parse_module_name
from circuitscope.dictionaries.shapes import AGAIN, check_weights, need
from circuitscope.dictionaries.tensor_files import header_digest, read_json
from circuitscope.dictionaries.torch_files import open_torch_file

CONFIG: Final = "config.json"
WEIGHTS: Final = "ae.pt"
_CLASSES: Final = {
    "AutoEncoder": "relu",
    "AutoEncoderNew": "relu",
    "AutoEncoderTopK": "topk",
    "BatchTopKSAE": "jumprelu",
    "MatryoshkaBatchTopKSAE": "jumprelu",
    "GatedAutoEncoder": "gated",
    "JumpReluAutoEncoder": "jumprelu",
}
_WHOLE_INPUT: Final = ("AutoEncoderNew", "JumpReluAutoEncoder")
_SUBMODULE: Final = re.compile(r"(.+?)_(?:layer_?)?(\d+)")
_SITES: Final = {
    "resid_post": Site.RESID_POST, "resid_pre": Site.RESID_PRE, "resid": Site.RESID_POST,
    "mlp": Site.MLP_OUT, "mlp_out": Site.MLP_OUT,
    "attn": Site.ATTN_OUT, "attn_out": Site.ATTN_OUT, "attention_out": Site.ATTN_OUT,
}  # fmt: skip


class DictionaryLearning:
    """Read dictionary_learning's autoencoders."""

    def sniff(self, path: Path) -> bool:
        """Say whether a folder holds both files under their usual names."""
        return (path / CONFIG).is_file() and (path / WEIGHTS).is_file()

    def cards(self, path: Path) -> tuple[DictionaryCard]:
        """Describe a dictionary from its settings and the shapes of its tensors."""
        settings = _settings(path)
        site, layer = _place(path, settings)
        tensors = read_tensors(path / WEIGHTS)
        weights = _weights(path, settings["dict_class"], tensors)
        sizes = settings.get("activation_dim"), settings.get("dict_size")
        d_in, d_out, n = check_weights(weights, path / WEIGHTS, *sizes)
        activation = _CLASSES[settings["dict_class"]]
        if activation == "jumprelu" and weights.threshold is None:
            activation = "topk"
        card = DictionaryCard(
            name=f"{site.text}_{layer}_{path.name}",
            format="dictionary_learning",
            path=str(path),
            digest=header_digest(path / CONFIG, path / WEIGHTS),
            read_site=site,
            write_site=site,
            layers=(layer,),
            d_in=d_in,
            d_out=d_out,
            n_features=n,
            activation=activation,
            k=_k(path, settings, tensors) if activation == "topk" else None,
            decoder_bias_subtracted=settings["dict_class"] not in _WHOLE_INPUT,
            model_name=str(settings.get("lm_name") or ""),
        )
        return (card,)

    def load(self, card: DictionaryCard, device: str | torch.device = "cpu") -> Dictionary:
        """Open a dictionary; its matrices stay in the mapped file on the processor."""
        path = Path(card.path)
        tensors = read_tensors(path / WEIGHTS)
        loaded = Dictionary(card, _weights(path, _settings(path)["dict_class"], tensors))
        return loaded if str(device) == "cpu" else loaded.to(device)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a torch file without running anything in it.

    Raises:
        UnsafeFile: It asks for more than tensors and plain containers.
        DictionaryError: It is missing, cut off, of torch's form before 1.6, or holds no tensors.
    """
    found = open_torch_file(path, _unreadable(path), "Ask for the weights as safetensors.")
    if not isinstance(found, dict) or not found:
        raise _unreadable(path)
    tensors = {
        str(name).removeprefix("_orig_mod."): value
        for name, value in found.items()
        if isinstance(value, Tensor) and value.layout == torch.strided
    }
    if len(tensors) != len(found):
        raise _unreadable(path)
    return tensors


def _unreadable(path: Path) -> DictionaryError:
    return DictionaryError(
        f"{path} is no readable file of named tensors; it may be cut off.",
        hint="Download or copy it again.",
    )


def _settings(path: Path) -> dict[str, Any]:
    settings = read_json(path / CONFIG).get("trainer")
    if not isinstance(settings, dict):
        raise DictionaryError(f'{CONFIG} of {path.name} has no "trainer".', hint=AGAIN)
    if settings.get("dict_class") not in _CLASSES:
        raise DictionaryError(
            f"{path.name} is of the class {settings.get('dict_class')!r}, which CircuitScope "
            "does not know.",
            hint=f"Classes that can be read: {', '.join(_CLASSES)}.",
        )
    return settings


def _place(path: Path, settings: Mapping[str, Any]) -> tuple[Site, int]:
    """Return the site and layer that `submodule_name` or a folder's name says."""
    named = settings.get("submodule_name")
    for name in (named, path.name, path.parent.name):
        if not isinstance(name, str):
            continue
        module = parse_module_name(name)
        if module is not None:
            return module
        match = _SUBMODULE.fullmatch(name)
        if match is not None and match[1] in _SITES:
            return _SITES[match[1]], int(match[2])
    layer = settings.get("layer")
    if named in _SITES and isinstance(layer, int):
        return _SITES[str(named)], layer
    raise DictionaryError(
        f"{path.name} was trained on {named!r}, which is no place CircuitScope knows.",
        hint='Known names look like "resid_post_layer_3" or "mlp_out_layer_3".',
    )


def _k(path: Path, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> int:
    k = int(tensors["k"]) if "k" in tensors else settings.get("k")
    if not isinstance(k, int) or k < 1:
        raise DictionaryError(
            f"{CONFIG} of {path.name} does not say how many features are kept.",
            hint='Add "k" to its trainer.',
        )
    return k


def _weights(path: Path, kind: str, tensors: Mapping[str, Tensor]) -> DictionaryWeights:
    file = path / WEIGHTS
    turned = "encoder.weight" in tensors
    W_enc = _first(tensors, ("encoder.weight", "W_enc"), file)
    W_dec = _first(tensors, ("decoder.weight", "W_dec"), file)
    b_dec = _first(tensors, ("b_dec", "decoder_bias", "bias", "decoder.bias"), file).float()
    if turned:
        W_enc, W_dec = W_enc.mT, W_dec.mT
    if kind == "GatedAutoEncoder":
        need(tensors, ("r_mag", "mag_bias", "gate_bias"), file)
        spread = tensors["r_mag"].float().exp()
        b_enc = tensors["mag_bias"].float()
        threshold = b_enc - tensors["gate_bias"].float() * spread
        return DictionaryWeights(W_enc, b_enc, W_dec, b_dec, threshold, read_scale=spread)
    b_enc = _first(tensors, ("encoder.bias", "b_enc"), file).float()
    return DictionaryWeights(
        W_enc, b_enc, W_dec, b_dec, _threshold(kind, tensors, file, len(b_enc))
    )


def _first(tensors: Mapping[str, Tensor], names: tuple[str, ...], file: Path) -> Tensor:
    """Return the first tensor there under one of its names."""
    there = [name for name in names if name in tensors]
    need(tensors, there or names[:1], file)
    return tensors[there[0]]


def _threshold(kind: str, tensors: Mapping[str, Tensor], file: Path, n: int) -> Tensor | None:
    if kind == "JumpReluAutoEncoder":
        need(tensors, ("threshold",), file)
        return tensors["threshold"].float()
    found = tensors.get("threshold")
    if _CLASSES[kind] != "jumprelu" or found is None or float(found) < 0:
        return None  # -1 stands for a threshold not yet learned.
    return found.float().expand(n)
