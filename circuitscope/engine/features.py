"""Evidence of features: what the engine is asked for, what comes back, and how.

Requests and results are plain data; torch, models and dictionaries are imported on use.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from circuitscope.core.anatomy import Site
from circuitscope.core.dictionary_quality import TrainedDictionary
from circuitscope.core.errors import ModelError
from circuitscope.evidence.records import Collected

if TYPE_CHECKING:
    from circuitscope.core.progress import Progress
    from circuitscope.engine.answers import Holdings
    from circuitscope.engine.requests import ModelChoice


@dataclass(frozen=True, slots=True)
class CollectEvidence:
    """Collect evidence for dictionaries from a corpus.

    Attributes:
        dictionaries: Folders.
        corpus: File, folder or "NAME:COUNT[:SEED]".
        out: File or folder to write to; "" is beside the dictionaries.
        context: Most tokens of a sequence, or None.
        text_field: Field of JSONL or column of CSV that holds the text.
        most_tokens: Stop after about so many; None reads the whole corpus.
    """

    model: ModelChoice
    dictionaries: tuple[str, ...]
    corpus: str
    out: str = ""
    context: int | None = None
    text_field: str = ""
    most_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class TrainDictionary:
    """Train a dictionary on a corpus and measure it.

    Attributes:
        corpus: File, folder or "NAME:COUNT[:SEED]".
        out: Folder of the dictionary.
        site: What it rebuilds, such as "mlp_out"; layer: where.
        reads: What a transcoder reads, such as "mlp_in"; "" for an autoencoder.
        training: Fields of `dictionaries.training.TrainingSettings`, as (name, value).
        options: Other arguments of `dictionaries.training_run.train_on_corpus`, as (name, value).
    """

    model: ModelChoice
    corpus: str
    out: str
    site: str
    layer: int
    reads: str = ""
    training: tuple[tuple[str, Any], ...] = ()
    options: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class ReadFeature:
    """Ask what a feature does on a text.

    Attributes:
        digest: Its dictionary's; "" for any that has features of that site and layer.
        site: Site of its key, such as "mlp_transcoder".
    """

    model: ModelChoice
    prompt: str | tuple[int, ...]
    dictionaries: tuple[str, ...]
    site: str
    layer: int
    unit: int
    digest: str = ""


@dataclass(frozen=True, slots=True)
class FeatureReading:
    """A feature's activation at every token of a text."""

    tokens: tuple[str, ...]
    activations: tuple[float, ...]


FeatureRequest = CollectEvidence | ReadFeature | TrainDictionary
FeatureResult = Collected | FeatureReading | TrainedDictionary


def collect_evidence(request: CollectEvidence, holdings: Holdings, progress: Progress) -> Collected:
    """Collect; cancelling keeps what was counted for the next time."""
    from circuitscope.dictionaries.collecting import collect

    model = holdings.model(request.model, progress)
    opened = holdings.dictionaries(request.dictionaries, str(model.device), progress)
    return collect(
        model, opened, request.corpus, Path(request.out) if request.out else None,
        context=request.context, text_field=request.text_field, most_tokens=request.most_tokens,
        progress=progress,
    )  # fmt: skip


def train_dictionary(
    request: TrainDictionary, holdings: Holdings, progress: Progress
) -> TrainedDictionary:
    """Train; cancelling keeps what was done for the next time."""
    from circuitscope.dictionaries.training import TrainingSettings
    from circuitscope.dictionaries.training_run import train_on_corpus

    model = holdings.model(request.model, progress)
    return train_on_corpus(
        model, request.corpus, request.out, site=request.site, layer=request.layer,
        reads=request.reads or None, settings=TrainingSettings(**dict(request.training)),
        progress=progress, **dict(request.options),
    )  # fmt: skip


def read_feature(request: ReadFeature, holdings: Holdings, progress: Progress) -> FeatureReading:
    """Run a text and read one feature.

    Raises:
        ModelError: No dictionary here has it.
    """
    import torch

    from circuitscope.dictionaries.fit import as_read, check_fit
    from circuitscope.models.capture import capture
    from circuitscope.models.prompts import read_prompt

    model = holdings.model(request.model, progress)
    opened = holdings.dictionaries(request.dictionaries, str(model.device), progress)
    site, layer = Site.parse(request.site), request.layer
    fitting = [
        at for at, card in enumerate(getattr(opened, "cards", ()))
        if card.feature_site is site and layer in card.layers and request.unit < card.n_features
    ]  # fmt: skip
    exact = [at for at in fitting if opened.cards[at].digest == request.digest]  # type: ignore[attr-defined] # a DictionarySet, as it has cards
    if not fitting:
        raise ModelError(
            f"No dictionary here has features of {site.text} in layer {layer}.",
            kept="Nothing was changed.",
            hint="Put the dictionaries that the circuit was traced with beside the model.",
        )
    dictionary = as_read(opened[(exact or fitting)[0]], model.anatomy)
    check_fit(dictionary.card, model.anatomy)
    prompt = read_prompt(model, request.prompt)
    progress.phase("Running the text")
    with torch.inference_mode():
        x = capture(model, prompt.token_ids).site(dictionary.card.read_site, layer)
        found = dictionary.layer(layer).encode(x)
    acts = torch.zeros(len(prompt.token_ids))
    mine = found.unit == request.unit
    acts[found.position[mine].cpu()] = found.value[mine].float().cpu()
    return FeatureReading(prompt.tokens, tuple(acts.tolist()))
