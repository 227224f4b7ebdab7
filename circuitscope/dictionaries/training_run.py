"""Train a dictionary for a site of a model on a corpus, from texts to measured files.

1. Gather activations (`gathering`); every twentieth text is kept back.
2. Train on them (`training`). A text's first position, where many models write one huge constant
   vector, counts as much in the error as a position does on average, and no more.
3. Write SAELens' files, and open them again.
4. Measure what was opened on the texts kept back (`quality`), and write that beside and inside.

Everything but the result lies in a folder OUT.partial; a run that was killed goes on from it, and
ends with the same bytes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from circuitscope.core.anatomy import Site
from circuitscope.core.dictionary_quality import TrainedDictionary
from circuitscope.core.errors import DictionaryError, ModelError
from circuitscope.core.progress import Progress, silent
from circuitscope.dictionaries.corpus import Corpus, open_corpus
from circuitscope.dictionaries.formats.sae_lens import SaeLens
from circuitscope.dictionaries.gathering import Activations, gather
from circuitscope.dictionaries.quality import measure_quality
from circuitscope.dictionaries.senses import measure_senses, read_pairs
from circuitscope.dictionaries.training import (
    DictionaryWeights,
    TrainingSettings,
    train_dictionary,
)
from circuitscope.dictionaries.writing import write_sae_lens
from circuitscope.models.places import has_site
from circuitscope.models.upcast import in_float32

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel

QUALITY = "quality.json"
_FEATURES_PER_DIMENSION = 8


def train_on_corpus(  # noqa: PLR0913 - options by keyword
    model: LoadedModel,
    corpus: Path | str | Corpus,
    out: Path | str,
    *,
    site: Site | str,
    layer: int,
    reads: Site | str | None = None,
    d_sae: int | None = None,
    settings: TrainingSettings | None = None,
    n_tokens: int = 1_000_000,
    context: int | None = None,
    text_field: str = "",
    senses: Path | str | None = None,
    progress: Progress | None = None,
) -> TrainedDictionary:
    """Train a sparse autoencoder, or a transcoder where it reads another site.

    Args:
        model: The model.
        corpus: File, folder, "NAME:COUNT[:SEED]", or an opened corpus.
        out: Folder of the dictionary; made by this.
        site: What it rebuilds, such as "mlp_out" or "resid_post".
        layer: In which layer.
        reads: What its encoder reads, such as "mlp_in"; None is the site itself.
        d_sae: Number of features; None takes 8 for each dimension of the site.
        settings: How it is trained; its own d_sae is not used.
        n_tokens: Activations that are enough; fewer where the corpus ends.
        context: Most tokens of a text; None takes the model's, but at most 128.
        text_field: Field of JSONL or column of CSV that holds the text.
        senses: Pairs of texts with one word, to tell its senses apart (`senses`).
        progress: Hears of rows, steps and texts; cancelling keeps what was done.

    Raises:
        ModelError: The model has no such site or layer.
        DictionaryError: The folder is not empty, or SAELens' format cannot say it.
        CircuitScopeError: The corpus or the pairs cannot be read.
    """
    hear, model = progress or silent(), in_float32(model)
    write_site = Site.parse(site)
    read_site = write_site if reads is None else Site.parse(reads)
    settings = settings or TrainingSettings()
    target = Path(out).expanduser().absolute()
    _check(model, target, settings, (read_site, write_site), layer)
    pairs = None if senses is None else read_pairs(Path(senses).expanduser())
    opened = open_corpus(model, corpus, context, text_field)
    work = target.with_name(f"{target.name}.partial")
    rows = gather(model, opened, (read_site, layer), (write_site, layer), work, n_tokens, hear)
    d_out = (rows.inputs if rows.outputs is None else rows.outputs).shape[1]
    settings = replace(settings, d_sae=d_sae or _FEATURES_PER_DIMENSION * d_out)
    trained = train_dictionary(
        rows.inputs, rows.outputs, settings, weights=_importance(rows), device=model.device,
        checkpoint=work / "training.safetensors", progress=hear,
    )  # fmt: skip
    told = {
        "model_name": model.anatomy.name,
        "context_size": context or min(128, model.anatomy.n_ctx),
        "training": {
            **asdict(settings), "corpus": opened.title, "corpus_digest": opened.digest,
            "model_digest": model.anatomy.digest, "n_tokens": len(rows.inputs),
        },
    }  # fmt: skip
    ready = work / target.name
    shutil.rmtree(ready, ignore_errors=True)
    sites = (read_site, write_site)
    _write(ready, trained, sites, layer, told, {})
    reader = SaeLens()
    dictionary = reader.load(reader.cards(ready)[0], model.device)
    quality = measure_quality(model, dictionary, rows.held_out, hear)
    if pairs is not None:
        quality = replace(quality, senses=measure_senses(model, dictionary, pairs, hear))
    _write(ready, trained, sites, layer, told, quality.metrics())
    text = json.dumps(quality.as_json(), indent=2) + "\n"
    (ready / QUALITY).write_text(text, encoding="utf-8")
    if target.exists():
        target.rmdir()
    ready.replace(target)
    shutil.rmtree(work, ignore_errors=True)
    return TrainedDictionary(str(target), quality)


def _check(
    model: LoadedModel,
    target: Path,
    settings: TrainingSettings,
    sites: tuple[Site, Site],
    layer: int,
) -> None:
    nothing = "Nothing was changed."
    for site in sites:
        if not has_site(model, site) or site is Site.PATTERN:
            raise ModelError(f"{model.anatomy.name} has no site {site.text}.", kept=nothing)
    if not 0 <= layer < model.anatomy.n_layers:
        last = model.anatomy.n_layers - 1
        raise ModelError(
            f"{model.anatomy.name} has no layer {layer}.", kept=nothing, hint=f"0 to {last}."
        )
    if settings.activation == "topk" and sites[0] is not sites[1]:
        raise DictionaryError(
            "SAELens' format has no TopK transcoders.", kept=nothing, hint="Choose batchtopk."
        )
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DictionaryError(
            f"{target} is not empty.", kept=nothing, hint="Choose a new or empty folder."
        )


def _importance(rows: Activations) -> NDArray[np.float32]:
    """Return how much each row counts in the error, float32 [row]."""
    written = rows.inputs if rows.outputs is None else rows.outputs
    sizes = np.concatenate([
        np.square(written[at : at + 65_536], dtype=np.float32).sum(1)
        for at in range(0, len(written), 65_536)
    ])  # fmt: skip
    start, rest = sizes[rows.is_start], sizes[~rows.is_start]
    share = 1.0
    if len(start) and len(rest):
        share = min(1.0, float(rest.mean() / max(start.mean(), 1e-12)))
    return np.where(rows.is_start, share, 1.0).astype(np.float32)


def _write(
    folder: Path,
    trained: DictionaryWeights,
    sites: tuple[Site, Site],
    layer: int,
    told: dict[str, object],
    metrics: dict[str, float],
) -> None:
    read, write = (site.hook_name(layer) for site in sites)
    across = sites[0] is not sites[1]
    kind = "topk" if trained.k is not None else "jumprelu"
    names: Sequence[str] = ("W_enc", "b_enc", "W_dec", "b_dec")
    names = (*names, "threshold") if trained.k is None else names
    more: dict[str, object] = {} if trained.k is None else {"k": trained.k}
    if sites[0] is Site.HEAD_Z:
        more["reshape_activations"] = "hook_z"
    write_sae_lens(
        folder,
        {name: getattr(trained, name) for name in names},
        architecture=f"{kind}_transcoder" if across else kind,
        hooks=(read, write if across else None),
        metadata={**told, "metrics": metrics},
        **more,
    )
