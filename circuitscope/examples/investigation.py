"""What the ready projects hold besides drawn circuits: a second trace, tests and a measurement.

1. Trace the question a second way: contextual decomposition, heads instead of features.
2. Test every drawn group on the unfrozen model, against matched controls.
3. Measure the circuit: what it keeps of the answer alone, and what is left without it.
4. Compare two circuits beside a third that should be as the first, and run each on the others'
   prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import circuitscope as cs
from circuitscope.core.transfer import Chosen
from circuitscope.project import runs, verbs
from circuitscope.session import comparing

if TYPE_CHECKING:
    from circuitscope.dictionaries.dictionary import Dictionary
    from circuitscope.models.loading import LoadedModel
    from circuitscope.project.file import ProjectFile

_Found = TypeVar("_Found", cs.Circuit, cs.Curves)


def public(found: _Found) -> _Found:
    """Return a finding as it ships: it names no folder of the machine that made it."""
    return replace(found, provenance=found.provenance.without_folders())


def add_heads(model: LoadedModel, project: ProjectFile, name: str) -> None:
    """Explain what a project's circuit explains by contextual decomposition too."""
    circuit = project.circuits()[name]
    word = circuit.labels[circuit.roots[0]]
    heads = cs.trace(model, circuit.token_ids, method="contextual", targets=f"logit:{word}")
    project.add(public(heads), name=f"{name}, by heads")


def add_tests(
    model: LoadedModel, dictionaries: Sequence[Dictionary], project: ProjectFile, name: str
) -> None:
    """Test each group of a circuit's drawing as a whole, and keep the tests there."""
    drawing = project.drawing(name)
    groups = [verbs.nodes_in(drawing, group) for group in drawing.of_kind("group")]
    tested = cs.badges(
        model, project.circuits()[name], nodes=[], groups=groups, dictionaries=dictionaries
    )
    drawing.commit(runs.add_runs(drawing, [outcome for outcome, _ in tested]))


def add_measurement(
    model: LoadedModel,
    dictionaries: Sequence[Dictionary],
    project: ProjectFile,
    name: str,
    pairs: Sequence[cs.PromptPair] | None = None,
) -> None:
    """Measure a circuit's nodes, other nodes off, on the pairs or else on its own prompt."""
    circuit = project.circuits()[name]
    found = cs.measure(model, circuit, pairs, "node", dictionaries=dictionaries)
    project.add(public(found), name=f"{name}, measured")


def add_comparison(
    model: LoadedModel,
    dictionaries: Sequence[Dictionary],
    project: ProjectFile,
    names: tuple[str, str, str],
) -> comparing.ComparisonReport:
    """Compare two circuits of a project; the third is the noise floor of the first."""
    chosen = Chosen(*(project.finding(name).id for name in names))
    a, b, floor = (project.circuits()[name] for name in names)
    found = cs.transfer(model, a, b, floor=floor, names=names, dictionaries=dictionaries)
    report = comparing.report_of(project, chosen, found)
    comparing.keep(project, chosen, report)
    return report
