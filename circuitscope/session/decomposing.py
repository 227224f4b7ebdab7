"""Words behind a decision and heads of two circuits: jobs of a session, and where results go."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import ProjectError
from circuitscope.core.finding import Grid, Ranking
from circuitscope.core.importance import METHOD
from circuitscope.core.means import METHOD as MEANS
from circuitscope.core.means import from_grid
from circuitscope.core.sources import MeanActivations
from circuitscope.engine.decomposing import (
    Compared,
    CompareHeads,
    DiscoverHeads,
    MeasureMeans,
    WeighWords,
)
from circuitscope.project.findings import FindingInfo
from circuitscope.session.jobs import Job
from circuitscope.session.metric_cases import Case
from circuitscope.session.session import Session
from circuitscope.session.trials import dictionary_folders


def weigh_words(session: Session, text: str, label: str = "", contrast: str = "") -> Job:
    """Weigh the words of a classifier's decision; the job's result is a `Ranking`.

    Args:
        session: Its model is asked.
        text: The sentence.
        label: What is explained; "" for the model's own decision.
        contrast: What it is told from; "" for the likeliest other label.
    """
    request = WeighWords(session.model_choice, text, label, contrast)
    return session.jobs.add(f"Weigh the words of “{text[:60]}”", request)


def keep_importance(session: Session, ranking: Ranking) -> str:
    """Store an importance in the project, a new one where none is open; return its id."""
    project = session.project or session.new_project()
    return project.add_finding(ranking, str(ranking.provenance.settings.get("prompt", "")))


def is_importance(info: FindingInfo) -> bool:
    """Say whether a finding is an importance that was kept."""
    return info.kind == "ranking" and info.method == METHOD


def discover_heads(
    session: Session,
    cases: Sequence[Case],
    evaluation: Sequence[Case] = (),
    name: str = "",
    **options: Any,
) -> Job:
    """Find the heads behind a metric, add them to the project and show them.

    Args:
        session: Its model is searched.
        cases: Prompts, each with its metric.
        evaluation: Those that faithfulness is measured on; none takes the cases.
        name: Of the circuit; else the first prompt.
        options: `granularity`, `n_heads`, `mlps`, `ablation` and `weights` of `DiscoverHeads`.
    """
    project = session.project or session.new_project()

    def store(job: Job, found: Any) -> None:
        if session.project is not project:
            raise ProjectError("The project was closed.", hint="Find the heads again.")
        shown = "".join(found.tokens).strip()
        job.result_id = project.add_finding(found, name or f"{shown} (heads)")
        job.result = None
        session.activate(job.result_id)

    request = DiscoverHeads(
        session.model_choice,
        tuple(prompt for prompt, _ in cases), tuple(metric for _, metric in cases),
        tuple(prompt for prompt, _ in evaluation), tuple(metric for _, metric in evaluation),
        **options,
    )  # fmt: skip
    return session.jobs.add(f"Find heads over {len(cases)} prompts", request, store)


def measure_means(session: Session, prompts: Sequence[str], name: str, weights: str = "raw") -> Job:
    """Average what heads hold over prompts and keep it in the project, a new one where needed.

    Args:
        session: Its model runs the prompts.
        prompts: Texts.
        name: What the means are called; a number is added where it is taken.
        weights: How the weights are prepared.
    """
    project = session.project or session.new_project()

    def store(job: Job, found: Any) -> None:
        if session.project is not project:
            raise ProjectError("The project was closed.", hint="Measure the means again.")
        job.result_id = project.add_finding(found, name)

    request = MeasureMeans(session.model_choice, tuple(prompts), name, weights)
    return session.jobs.add(f"Means of {len(prompts)} prompts", request, store)


def kept_means(session: Session) -> list[FindingInfo]:
    """Return the means kept in the project."""
    project = session.project
    found = [] if project is None else project.findings()
    return [info for info in found if info.kind == "grid" and info.method == MEANS]


def read_means(session: Session, info: FindingInfo) -> MeanActivations:
    """Return means kept in the project, under the name they have there."""
    project = session.project
    assert project is not None, "means are kept in a project"
    grid = project.read_finding(info.id)
    assert isinstance(grid, Grid)
    return replace(from_grid(grid), name=info.name)


def contextual_circuits(session: Session) -> list[FindingInfo]:
    """Return the project's circuits of contextual decomposition of the active circuit's prompt."""
    project, circuit = session.project, session.circuit
    if project is None or circuit is None:
        return []
    found = [info for info in project.findings() if info.method == "contextual"]
    return [info for info in found if project.circuit(info.id).token_ids == circuit.token_ids]


def compare_heads(session: Session, contextual: FindingInfo | None) -> Job:
    """Compare the active circuit with one of contextual decomposition; the result is `Compared`.

    Args:
        session: Its active circuit is the dictionary circuit.
        contextual: The other one; None traces it and adds it to a project that can be written.
    """
    circuit, project = session.circuit, session.project
    if circuit is None or project is None:
        raise ProjectError("No circuit is open.", hint="Open or trace one first.")
    name = project.finding(session.active).name
    other: Circuit | None = None if contextual is None else project.circuit(contextual.id)

    def store(job: Job, found: Any) -> None:
        assert isinstance(found, Compared)
        open_still = session.project is project and not project.read_only
        if found.traced is not None and open_still:
            job.result_id = project.add_finding(found.traced, f"{name} (heads)")

    choice = session.model_choice
    folders: tuple[str, ...] = ()
    if circuit.provenance.dictionaries:
        folders = dictionary_folders(circuit, Path(choice.path), session.preferences.now)
    request = CompareHeads(choice, circuit, other, folders)
    return session.jobs.add(f"Compare “{name}” by heads", request, store)
