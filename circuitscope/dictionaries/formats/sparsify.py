"""EleutherAI's sparsify: a folder a hookpoint, with cfg.json and sae.safetensors.

The folder's name is the module whose output is coded ("layers.3.mlp"); a transcoder reads the
same module's input. Encoding: the k largest of relu(W (x - b_dec) + b), without b_dec for
transcoders. The model's name stands in config.json one level up.
"""

from __future__ import annotations

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
from circuitscope.dictionaries.shapes import check_weights, need
from circuitscope.dictionaries.tensor_files import (
    header_digest,
    map_tensors,
    read_json,
    shapes_only,
)

CONFIG: Final = "cfg.json"
WEIGHTS: Final = "sae.safetensors"
_READS: Final = {
    Site.MLP_WRITE: Site.MLP_IN, Site.ATTN_WRITE: Site.ATTN_IN, Site.RESID_POST: Site.RESID_PRE,
}  # fmt: skip
_UNKNOWN: Final = ("signed", "embed_skip", "gram_lookup")


class Sparsify:
    """Read sparsify's autoencoders and transcoders."""

    def sniff(self, path: Path) -> bool:
        """Say whether a folder holds both files under their usual names."""
        return (path / CONFIG).is_file() and (path / WEIGHTS).is_file()

    def cards(self, path: Path) -> tuple[DictionaryCard]:
        """Describe a dictionary from its settings and the header of its weights."""
        settings = read_json(path / CONFIG)
        _check_settings(path, settings)
        read_site, write_site, layer = _sites(path, settings)
        weights = _weights(shapes_only(path / WEIGHTS), path / WEIGHTS)
        d_in, d_out, n = check_weights(
            weights, path / WEIGHTS, settings.get("d_in"), settings.get("num_latents") or None
        )
        card = DictionaryCard(
            name=path.name,
            format="sparsify",
            path=str(path),
            digest=header_digest(path / CONFIG, path / WEIGHTS),
            read_site=read_site,
            write_site=write_site,
            layers=(layer,),
            d_in=d_in,
            d_out=d_out,
            n_features=n,
            activation="topk",
            k=settings["k"],
            decoder_bias_subtracted=not settings.get("transcode"),
            skip=weights.W_skip is not None,
            model_name=_model_name(path),
        )
        return (card,)

    def load(self, card: DictionaryCard, device: str | torch.device = "cpu") -> Dictionary:
        """Open a dictionary; its matrices stay in the mapped file on the processor."""
        file = Path(card.path) / WEIGHTS
        loaded = Dictionary(card, _weights(map_tensors(file), file))
        return loaded if str(device) == "cpu" else loaded.to(device)


def _check_settings(path: Path, settings: Mapping[str, Any]) -> None:
    activation = settings.get("activation", "topk")
    strange = [name for name in _UNKNOWN if settings.get(name)]
    if activation != "topk" or strange:
        what = ", ".join(strange) or f"the activation {activation!r}"
        raise DictionaryError(
            f"{path.name} was trained with {what}, which CircuitScope cannot apply.",
            hint="Choose a plain TopK dictionary.",
        )
    k = settings.get("k")
    if not isinstance(k, int) or isinstance(k, bool) or k < 1:
        raise DictionaryError(
            f"{CONFIG} of {path.name} does not say how many features are kept.",
            hint='Add "k" to it.',
        )


def _sites(path: Path, settings: Mapping[str, Any]) -> tuple[Site, Site, int]:
    # Inside a folder of seeds the hookpoint is one level up.
    found = parse_module_name(path.name) or parse_module_name(path.parent.name)
    if found is None or found[0] not in _READS:
        raise DictionaryError(
            f"The folder's name {path.name!r} is no hookpoint that CircuitScope knows.",
            hint="Keep the names that sparsify gives, such as layers.3.mlp or h.3.",
        )
    site, layer = found
    return (_READS[site] if settings.get("transcode") else site), site, layer


def _weights(tensors: Mapping[str, Tensor], file: Path) -> DictionaryWeights:
    need(tensors, ("encoder.weight", "encoder.bias", "W_dec", "b_dec"), file)
    skip = tensors.get("W_skip")
    return DictionaryWeights(
        tensors["encoder.weight"].mT, tensors["encoder.bias"].float(),
        tensors["W_dec"], tensors["b_dec"].float(),
        W_skip=None if skip is None else skip.float(),
    )  # fmt: skip


def _model_name(path: Path) -> str:
    for folder in (path.parent, path.parent.parent):
        if (folder / "config.json").is_file():
            return str(read_json(folder / "config.json").get("model") or "")
    return ""
