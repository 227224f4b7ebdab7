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
from circuitscope.engine.language import ExplainFeatures, explain_features
from circuitscope.evidence.labels import label_features as label_file
from circuitscope.evidence.records import Collected, CollectEstimate, FeatureId, Label

if TYPE_CHECKING:
    from collections.abc import Callable

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
        expected_tokens: About how many the corpus has, for the time left; 0 where unknown.
    """

    model: ModelChoice
    dictionaries: tuple[str, ...]
    corpus: str
    out: str = ""
    context: int | None = None
    text_field: str = ""
    most_tokens: int | None = None
    expected_tokens: int = 0


@dataclass(frozen=True, slots=True)
class EstimateCollection:
    """Say beforehand how much work `collect` is; the answer is a `CollectEstimate`."""

    collect: CollectEvidence


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
        read_site: What its dictionary reads in the circuit, where that was chosen; "" as declared.
    """

    model: ModelChoice
    prompt: str | tuple[int, ...]
    dictionaries: tuple[str, ...]
    site: str
    layer: int
    unit: int
    digest: str = ""
    read_site: str = ""


@dataclass(frozen=True, slots=True)
class FeatureReading:
    """A feature's activation at every token of a text."""

    tokens: tuple[str, ...]
    activations: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class LabelFeatures:
    """Label features, also by what raising them does to the next token.

    Attributes:
        evidence: The evidence file or its folder.
        dictionaries: Folders; of none, only rules of tokens are found.
        only: Features; none takes all that are alive.
        more: Labels made elsewhere, by feature.
    """

    model: ModelChoice
    evidence: str
    dictionaries: tuple[str, ...] = ()
    only: tuple[FeatureId, ...] = ()
    more: tuple[tuple[FeatureId, tuple[Label, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Labelled:
    """The best score of each labelled feature, by name of the dictionary."""

    scores: dict[str, tuple[float, ...]]


FeatureRequest = (
    CollectEvidence | EstimateCollection | ReadFeature | TrainDictionary | LabelFeatures
    | ExplainFeatures
)  # fmt: skip
FeatureResult = Collected | CollectEstimate | FeatureReading | TrainedDictionary | Labelled


def collect_evidence(request: CollectEvidence, holdings: Holdings, progress: Progress) -> Collected:
    """Collect; cancelling keeps what was counted for the next time."""
    from circuitscope.dictionaries.collecting import collect

    model = holdings.model(request.model, progress)
    opened = holdings.dictionaries(request.dictionaries, str(model.device), progress)
    return collect(
        model, opened, request.corpus, Path(request.out) if request.out else None,
        context=request.context, text_field=request.text_field, most_tokens=request.most_tokens,
        expected_tokens=request.expected_tokens, progress=progress,
    )  # fmt: skip


def estimate_collection(
    request: EstimateCollection, holdings: Holdings, progress: Progress
) -> CollectEstimate:
    """Look at the corpus and run a little of it."""
    from circuitscope.dictionaries.collecting_estimate import estimate

    asked = request.collect
    model = holdings.model(asked.model, progress)
    opened = holdings.dictionaries(asked.dictionaries, str(model.device), progress)
    return estimate(
        model, opened, asked.corpus, Path(asked.out) if asked.out else None,
        context=asked.context, text_field=asked.text_field, progress=progress,
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
    cards = [
        card.reading(Site.parse(request.read_site))
        if request.read_site and card.digest == request.digest else card
        for card in getattr(opened, "cards", ())
    ]  # fmt: skip
    fitting = [
        at for at, card in enumerate(cards)
        if card.feature_site is site and layer in card.layers and request.unit < card.n_features
    ]  # fmt: skip
    exact = [at for at in fitting if cards[at].digest == request.digest]
    if not fitting:
        raise ModelError(
            f"No dictionary here has features of {site.text} in layer {layer}.",
            kept="Nothing was changed.",
            hint="Put the dictionaries that the circuit was traced with beside the model.",
        )
    at = (exact or fitting)[0]
    dictionary = as_read(opened[at].described(cards[at]), model.anatomy)
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


def label_features(request: LabelFeatures, holdings: Holdings, progress: Progress) -> Labelled:
    """Label; cancelling leaves the file as it was."""
    from circuitscope.dictionaries.labellers import model_labellers

    model = holdings.model(request.model, progress)
    opened = holdings.dictionaries(request.dictionaries, str(model.device), progress)
    found = label_file(
        request.evidence, dict(request.more), progress,
        labellers=model_labellers(model, opened) if request.dictionaries else (),
        only=request.only or None,
    )  # fmt: skip
    return Labelled({name: tuple(scores) for name, scores in found.items()})


def _explain(request: ExplainFeatures, holdings: Holdings, progress: Progress) -> Labelled:
    del holdings
    found = explain_features(request, progress)
    return Labelled({name: tuple(scores) for name, scores in found.items()})


HANDLERS: dict[type, Callable[[Any, Holdings, Progress], FeatureResult]] = {
    CollectEvidence: collect_evidence,
    EstimateCollection: estimate_collection,
    ReadFeature: read_feature,
    TrainDictionary: train_dictionary,
    LabelFeatures: label_features,
    ExplainFeatures: _explain,
}
