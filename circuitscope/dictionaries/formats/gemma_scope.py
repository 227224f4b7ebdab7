"""Gemma Scope: params.npz in layer_N/width_X/average_l0_Y; Gemma Scope 2: params.safetensors.

The first set has no settings: the folder's name gives the layer, the repository's (or any
folder's above) the kind: "res", "mlp", "att", "transcoders" or "embedding". The second has a
config.json with the Hugging Face modules that it reads and writes.

All are JumpReLU. Transcoders of the first set read the normalised vectors before the gain.
Embedding dictionaries were trained on embeddings times sqrt(d_model), which is what Gemma adds to
its stream.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from circuitscope.core.anatomy import Site
from circuitscope.core.dictionary import DictionaryCard
from circuitscope.core.errors import DictionaryError
from circuitscope.dictionaries.dictionary import Dictionary
from circuitscope.dictionaries.gemma_weights import gemma_weights
from circuitscope.dictionaries.hook_names import parse_module_name
from circuitscope.dictionaries.shapes import check_weights
from circuitscope.dictionaries.tensor_files import (
    header_digest,
    map_tensors,
    read_json,
    shapes_only,
)

FIRST: Final = "params.npz"
SECOND: Final = "params.safetensors"
_LAYER: Final = re.compile(r"layer_(\d+)")
_L0: Final = re.compile(r"average_l0_(\d+)")
_REPO: Final = re.compile(r"gemma-scope-([\w.]+?)-(pt|it)")
_KINDS: Final = {
    "transcoders": (Site.LN2_NORMALIZED, Site.MLP_OUT),
    "res": (Site.RESID_POST, Site.RESID_POST),
    "mlp": (Site.MLP_OUT, Site.MLP_OUT),
    "att": (Site.HEAD_Z, Site.HEAD_Z),
    "embedding": (Site.EMBED, Site.EMBED),
}


class GemmaScope:
    """Read one dictionary of either Gemma Scope."""

    def sniff(self, path: Path) -> bool:
        """Say whether a folder holds params.npz, or params.safetensors with settings."""
        second = (path / SECOND).is_file() and (path / "config.json").is_file()
        return (path / FIRST).is_file() or second

    def cards(self, path: Path) -> tuple[DictionaryCard]:
        """Describe a dictionary from its folder or settings, and the header of its weights."""
        file = _file(path)
        weights = gemma_weights(shapes_only(file), file)
        d_in, d_out, n = check_weights(weights, file)
        first = file.name == FIRST
        read_site, write_site, layer = _from_folder(path) if first else _from_settings(path)
        settings = {} if first else read_json(path / "config.json")
        card = DictionaryCard(
            name=_name(path, write_site, layer, transcoder=read_site is not write_site),
            format="gemma_scope",
            path=str(path),
            digest=header_digest(file if first else path / "config.json", file, part=str(layer)),
            read_site=read_site,
            write_site=write_site,
            layers=(layer,),
            d_in=d_in,
            d_out=d_out,
            n_features=n,
            activation="jumprelu",
            skip=weights.W_skip is not None,
            model_name=str(settings.get("model_name") or _model_name(path)),
            metrics=_metrics(path, settings),
        )
        return (card,)

    def load(self, card: DictionaryCard, device: str | torch.device = "cpu") -> Dictionary:
        """Open a dictionary; its matrices stay in the mapped file on the processor."""
        file = _file(Path(card.path))
        loaded = Dictionary(card, gemma_weights(map_tensors(file), file))
        return loaded if str(device) == "cpu" else loaded.to(device)


def _file(path: Path) -> Path:
    return path / FIRST if (path / FIRST).is_file() else path / SECOND


def _from_folder(path: Path) -> tuple[Site, Site, int]:
    names = [path.name, *(folder.name for folder in path.parents)]
    kind = next((k for name in names for k in _KINDS if k in re.split(r"[-_/]", name)), None)
    if kind is None:
        raise DictionaryError(
            f"No folder above {path.name} says what kind of Gemma Scope dictionary it is.",
            hint="Keep the repository's name in the path, such as gemma-scope-2b-pt-res.",
        )
    layers = [int(match[1]) for name in names if (match := _LAYER.fullmatch(name))]
    if not layers and kind != "embedding":
        raise DictionaryError(
            f"No folder above {path.name} says which layer it is for.",
            hint="Keep the repository's folders: layer_20/width_16k/average_l0_71.",
        )
    return (*_KINDS[kind], layers[0] if layers else 0)


def _from_settings(path: Path) -> tuple[Site, Site, int]:
    settings = read_json(path / "config.json")
    if settings.get("architecture") not in ("jump_relu", "jumprelu", None):
        raise DictionaryError(
            f"{path.name} is of the architecture {settings['architecture']!r}, which "
            "CircuitScope does not know.",
            hint="Architectures that can be read: jump_relu.",
        )
    inward = settings.get("hf_hook_point_in")
    outward = settings.get("hf_hook_point_out") or inward
    found = [parse_module_name(name) if isinstance(name, str) else None
             for name in (inward, outward)]  # fmt: skip
    if found[0] is None or found[1] is None or found[0][1] != found[1][1]:
        raise DictionaryError(
            f"{path.name} reads {inward!r} and writes {outward!r}, which are no places of one "
            "layer that CircuitScope knows.",
            hint="Known places look like model.layers.3.output.",
        )
    return found[0][0], found[1][0], found[0][1]


def _name(path: Path, site: Site, layer: int, *, transcoder: bool) -> str:
    kind = "transcoder" if transcoder else site.text
    return f"{kind}_{layer}_{path.name}" if path.name.startswith("average") else path.name


def _model_name(path: Path) -> str:
    match = _REPO.search(str(path))
    if match is None:
        return ""
    return f"google/gemma-2-{match[1]}" + ("-it" if match[2] == "it" else "")


def _metrics(path: Path, settings: Mapping[str, Any]) -> dict[str, float]:
    match = _L0.fullmatch(path.name)
    l0 = settings.get("l0", float(match[1]) if match else None)
    return {"l0": float(l0)} if isinstance(l0, (int, float)) else {}
