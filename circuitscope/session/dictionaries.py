"""Open, write and check dictionaries; torch is imported when one of these is called."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from circuitscope.core.progress import Progress
from circuitscope.dictionaries.hub_cache import cached_repositories

if TYPE_CHECKING:
    from circuitscope.core.dictionary_check import DictionaryCheck
    from circuitscope.core.dictionary_quality import TrainedDictionary
    from circuitscope.dictionaries.dictionary import Dictionary
    from circuitscope.dictionaries.format import DictionarySet
    from circuitscope.evidence.records import Collected
    from circuitscope.models.loading import LoadedModel
    from circuitscope.models.prompts import Written
    from circuitscope.session.imported_evidence import Imported

__all__ = [
    "cached_repositories", "check_dictionaries", "collect", "import_evidence",
    "label_features", "load_dictionaries", "save_dictionaries", "train_dictionary",
]  # fmt: skip


def load_dictionaries(
    path: Path | str | Sequence[Path | str],
    device: str = "cpu",
    read_at: Sequence[str] | str = (),
) -> DictionarySet:
    """Open a dictionary folder or a folder of them: a sequence, also by name.

    Repositories ("org/name", "hf://org/name/folder") are looked for in the local cache. Where the
    self-check finds that another site is explained better, `read_at` takes it: "ln2_normalized"
    for all transcoders, "NAME=SITE" for one dictionary.
    """
    from circuitscope.dictionaries import format as dictionary_format

    return dictionary_format.load_dictionaries(path, device, read_at)


def check_dictionaries(
    model: LoadedModel,
    prompt: Written,
    dictionaries: Sequence[Dictionary],
    progress: Progress | None = None,
) -> tuple[DictionaryCheck, ...]:
    """Measure how well dictionaries do on a prompt or short text, layer by layer."""
    from circuitscope.dictionaries import self_check
    from circuitscope.models.prompts import read_prompt

    ids = read_prompt(model, prompt).token_ids
    return self_check.check_dictionaries(model, ids, dictionaries, progress)


def save_dictionaries(
    dictionaries: Sequence[Dictionary], folder: Path | str, format: str = "sae_lens"
) -> Path:
    """Write dictionaries for other tools, as "sae_lens" or "circuit_tracer"."""
    from circuitscope.dictionaries import writing

    return writing.save_dictionaries(dictionaries, folder, format)


def collect(
    model: LoadedModel,
    dictionaries: Sequence[Dictionary],
    corpus: Path | str,
    out: Path | str | None = None,
    **options: Any,
) -> Collected:
    """Collect examples and counts of every feature in one pass over a corpus.

    The options, among them context, text_field, most_tokens and progress, are those of
    `dictionaries.collecting.collect`.
    """
    from circuitscope.dictionaries import collecting

    return collecting.collect(model, dictionaries, corpus, out, **options)


def label_features(
    evidence: Path | str,
    model: LoadedModel | None = None,
    dictionaries: Sequence[Dictionary] = (),
    **options: Any,
) -> dict[str, list[float]]:
    """Label features from their examples and, with a model, by clusters and what raising does.

    Args:
        evidence: The evidence file or its folder; the labels are written into it.
        model: Adds vocabulary projection, token change under steering and concepts by clustering.
        dictionaries: Those that the evidence is about.
        options: `more`, `only` and `progress` of `evidence.labels.label_features`.

    Returns:
        The best score of each labelled feature, by name of the dictionary.
    """
    from circuitscope.evidence import labels

    labellers: Sequence[labels.Labeller] = ()
    if model is not None:
        from circuitscope.dictionaries.labellers import model_labellers

        labellers = model_labellers(model, dictionaries)
    return labels.label_features(evidence, labellers=labellers, **options)


def import_evidence(
    source: Path | str,
    dictionaries: Path | str | Sequence[Path | str],
    out: Path | str | None = None,
    progress: Progress | None = None,
) -> Imported:
    """Read examples and labels that others published, into the evidence beside dictionaries.

    Args:
        source: circuit-tracer's folder of features, Neuronpedia's JSON of features or a folder of
            its bulk export.
        dictionaries: The folders that it is about; one dictionary for each layer.
        out: File or folder to write to; None is beside the dictionaries.
        progress: Advanced while features are read.
    """
    from circuitscope.dictionaries.collecting import default_path
    from circuitscope.session import imported_evidence

    opened = load_dictionaries(dictionaries)
    where = out or default_path(list(opened))
    return imported_evidence.import_evidence(source, opened.cards, where, progress)


def train_dictionary(  # noqa: PLR0913 - what, where, how
    model: LoadedModel,
    corpus: Path | str,
    out: Path | str,
    *,
    site: str,
    layer: int,
    reads: str | None = None,
    activation: str = "batchtopk",
    k: float = 16.0,
    steps: int = 2000,
    seed: int = 0,
    **options: Any,
) -> TrainedDictionary:
    """Train a sparse autoencoder, or a transcoder where it reads another site, and measure it.

    Written as SAELens writes them; a run that was killed goes on when it is called again.

    Args:
        model: The model.
        corpus: File, folder or "NAME:COUNT[:SEED]".
        out: Folder of the dictionary.
        site: What it rebuilds, such as "mlp_out".
        layer: In which layer.
        reads: What a transcoder reads, such as "mlp_in"; None is the site itself.
        activation: "batchtopk", "topk" or "jumprelu".
        k: Active features of a position; exactly with "topk", else on average.
        steps: Optimizer steps.
        seed: Seed of weights and batches.
        options: Those of `dictionaries.training_run.train_on_corpus`, among them d_sae, n_tokens,
            context, text_field, senses and progress.
    """
    from circuitscope.dictionaries.training import TrainingSettings
    from circuitscope.dictionaries.training_run import train_on_corpus

    settings = TrainingSettings(k=k, steps=steps, seed=seed, activation=activation)  # type: ignore[arg-type] # checked there
    return train_on_corpus(
        model, corpus, out, site=site, layer=layer, reads=reads, settings=settings, **options
    )
