"""What the engine is asked about features: collect evidence, label, train, read one on a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from circuitscope.core.keys import NodeKey
from circuitscope.engine.features import (
    CollectEvidence,
    EstimateCollection,
    LabelFeatures,
    ReadFeature,
    TrainDictionary,
)
from circuitscope.engine.language import ExplainFeatures, LanguageChoice
from circuitscope.evidence.records import FeatureId, Label
from circuitscope.session.feature_work import folders, renew_pages

if TYPE_CHECKING:
    from circuitscope.session.jobs import Job
    from circuitscope.session.preferences import Preferences
    from circuitscope.session.session import Session

CHANGING = (CollectEvidence, LabelFeatures, ExplainFeatures)
"""Requests after which feature pages show something else."""


def collect(
    session: Session,
    dictionaries: Sequence[str],
    corpus: str,
    out: str = "",
    *,
    then_label: bool = False,
    **options: Any,
) -> Job:
    """Collect evidence from a corpus; the job's result is a `Collected`.

    Args:
        session: Its model is run.
        dictionaries: Folders; all are done in one pass.
        corpus: File, folder or "NAME:COUNT[:SEED]".
        out: Where to; "" is beside the dictionaries.
        then_label: Whether labels are made when it is done, as a job of its own.
        options: Other fields of `CollectEvidence`.
    """
    request = CollectEvidence(session.model_choice, tuple(dictionaries), corpus, out, **options)

    def renew(job: Job, found: Any) -> None:
        del job
        renew_pages(session, [str(Path(found.path).parent)])
        if then_label:
            label(session, found.path, dictionaries)

    return session.jobs.add(f"Collect evidence from {Path(corpus).name}", request, renew)


def estimate_collection(
    session: Session, dictionaries: Sequence[str], corpus: str, **options: Any
) -> Job:
    """Ask how much work `collect` is; the job's result is a `CollectEstimate`."""
    asked = CollectEvidence(session.model_choice, tuple(dictionaries), corpus, **options)
    return session.jobs.add("Estimate the collection", EstimateCollection(asked))


def label(
    session: Session,
    evidence: str,
    dictionaries: Sequence[str],
    only: Sequence[FeatureId] = (),
    more: Mapping[FeatureId, Sequence[Label]] | None = None,
) -> Job:
    """Label features by their examples and by what they do; the job's result is a `Labelled`.

    Args:
        session: Its model is run.
        evidence: The evidence file or its folder.
        dictionaries: Folders of the dictionaries that it is about.
        only: Features; none takes all that are alive.
        more: Labels made elsewhere.
    """
    added = tuple((feature, tuple(found)) for feature, found in (more or {}).items())
    request = LabelFeatures(session.model_choice, evidence, tuple(dictionaries), tuple(only), added)
    what = f"feature {only[0].unit}" if len(only) == 1 else f"features of {Path(evidence).name}"

    def renew(job: Job, found: Any) -> None:
        del job, found
        place = Path(evidence)
        renew_pages(session, [str(place.parent if place.suffix == ".sqlite" else place)])

    return session.jobs.add(f"Label {what}", request, renew)


def language_choice(preferences: Preferences) -> LanguageChoice | None:
    """Return the language model that the user named and turned on, or None."""
    kept = preferences.language
    if not kept.use:
        return None
    if kept.where == "folder":
        return LanguageChoice(folder=kept.folder) if kept.folder else None
    if not (kept.url and kept.model):
        return None
    return LanguageChoice(kept.url, kept.model, kept.key_variable)


def explain(
    session: Session, choice: LanguageChoice, evidence: str, only: Sequence[FeatureId]
) -> Job:
    """Have a language model explain features; the job's result is a `Labelled`.

    Args:
        session: Its project's pages are renewed.
        choice: The language model; one at an address is sent the texts of the examples.
        evidence: The evidence file or its folder.
        only: Features.
    """
    request = ExplainFeatures(choice, evidence, tuple(only))

    def renew(job: Job, found: Any) -> None:
        del job, found
        place = Path(evidence)
        renew_pages(session, [str(place.parent if place.suffix == ".sqlite" else place)])

    what = f"feature {only[0].unit}" if len(only) == 1 else f"{len(only)} features"
    return session.jobs.add(f"Have {choice.title} explain {what}", request, renew)


def train_dictionary(  # noqa: PLR0913 - what, where, how
    session: Session, corpus: str, out: str, site: str, layer: int, reads: str = "",
    training: Mapping[str, Any] | None = None, **options: Any,
) -> Job:  # fmt: skip
    """Train a dictionary on a corpus; the job's result is a `TrainedDictionary`.

    Args:
        session: Its model is run.
        corpus: File, folder or "NAME:COUNT[:SEED]".
        out: Folder of the dictionary.
        site: What it rebuilds.
        layer: In which layer.
        reads: What a transcoder reads; "" is the site itself.
        training: Fields of `dictionaries.training.TrainingSettings`.
        options: Other arguments of `dictionaries.training_run.train_on_corpus`.
    """
    request = TrainDictionary(
        session.model_choice, corpus, out, site, layer, reads,
        tuple((training or {}).items()), tuple(options.items()),
    )  # fmt: skip
    return session.jobs.add(f"Train a dictionary of {site} {layer}", request)


def read_feature(session: Session, prompt: str, key: NodeKey, digest: str = "") -> Job:
    """Ask what a feature does on a text; the job's result is a `FeatureReading`."""
    choice = session.model_choice
    circuit = session.circuit
    cards = circuit.provenance.dictionaries if circuit is not None else ()
    read = next((card.get("read_site", "") for card in cards if card.get("digest") == digest), "")
    request = ReadFeature(
        choice, prompt, folders(session), key.site.text, key.layer, key.unit, digest, read
    )
    return session.jobs.add(f"Read feature {key.unit} on a text", request)
