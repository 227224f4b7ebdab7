"""Evidence for the active circuit: tests on the model, kept as runs of its drawing."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from circuitscope.core.badges import Outcome
from circuitscope.core.errors import CircuitScopeError, ProjectError
from circuitscope.core.finding import Grid
from circuitscope.core.rows import Row, RowKey
from circuitscope.engine.evidence import RunTests, SweepPatches
from circuitscope.engine.requests import Prompt
from circuitscope.engine.trials import ReadLens
from circuitscope.graph.cells import circuit_of_cells
from circuitscope.project import runs
from circuitscope.project.findings import FindingInfo
from circuitscope.project.wording import describe
from circuitscope.session.jobs import Job
from circuitscope.session.session import Session
from circuitscope.session.trials import dictionary_folders

INSPECTION = "logit_inspection"
_PROMPT_LOST = (
    "Repeated with the mean over positions: the test was stored by a version that did not keep "
    "the other prompt."
)


def start_tests(
    session: Session,
    nodes: Sequence[str] = (),
    edges: Sequence[int] = (),
    groups: Sequence[Sequence[str]] = (),
    *,
    keep: bool = True,
    remark: str = "",
    **options: Any,
) -> Job:
    """Test parts of the active circuit on the unfrozen model; each test becomes a run.

    Args:
        session: Whose circuit and model.
        nodes: Keys; with neither edges nor groups either, the strongest into a root.
        edges: By index.
        groups: Keys of the members; each is changed as a whole.
        keep: Whether the tests become runs of the drawing.
        remark: What a reader of the runs must know besides.
        options: Other fields of `RunTests`, such as counterfactual, ablation and draws.

    Raises:
        CircuitScopeError: No circuit or no model is there.
    """
    circuit, drawing, project = session.circuit, session.drawing, session.project
    if circuit is None or drawing is None or project is None:
        raise ProjectError("No circuit is open.", hint="Open or trace one first.")
    choice = session.model_choice
    folders: tuple[str, ...] = ()
    if circuit.provenance.dictionaries:
        folders = dictionary_folders(circuit, Path(choice.path), session.preferences.now)
    folders = options.pop("dictionaries", folders)
    request = RunTests(
        choice, circuit, tuple(nodes), tuple(int(edge) for edge in edges),
        tuple(tuple(group) for group in groups), dictionaries=folders, **options,
    )  # fmt: skip

    def store(job: Job, found: Any) -> None:
        if not keep:
            return
        if session.project is not project:
            raise ProjectError("The project that these tests were for has been closed.")
        tests = found.tests
        if remark:
            tests = [replace(one, remarks=(*one.remarks, remark)) for one in tests]
        drawing.commit(runs.add_runs(drawing, tests))

    return session.jobs.add(f"Test {_title(nodes, edges, groups)}", request, store)


def run_again(session: Session, tested: Outcome, **options: Any) -> Job:
    """Repeat a test of the active circuit with the same seed, controls, change and prompts.

    Tests of versions that did not keep the other prompt are repeated with the mean over positions,
    and say so.

    Raises:
        CircuitScopeError: The circuit no longer has what was tested.
    """
    circuit = session.circuit
    if circuit is None:
        raise ProjectError("No circuit is open.", hint="Open or trace one first.")
    how = {
        "draws": tested.n, "seed": tested.seed, "counterfactual": tested.counterfactual,
        "means": tested.means, **options,
    }  # fmt: skip
    lost = any(words in tested.ablation for words in ("counterfactual", "mean over prompts"))
    if lost and not how["counterfactual"] and not how["means"]:
        how["remark"] = _PROMPT_LOST
    if tested.ablation == "zero":
        how.setdefault("ablation", "zero")
    if tested.kind == "edge":
        ends = [circuit.nodes.find(name) for name in tested.subject]
        edges = [
            edge for edge in range(len(circuit.edges))
            if [int(circuit.edges.source[edge]), int(circuit.edges.target[edge])] == ends
        ]  # fmt: skip
        if not edges:
            raise CircuitScopeError("The circuit has no such edge.", hint="Test another one.")
        return start_tests(session, edges=edges[:1], **how)
    if tested.kind == "group":
        return start_tests(session, groups=[tested.subject], root=tested.root, **how)
    return start_tests(session, tested.subject, root=tested.root, **how)


def sweep(
    session: Session,
    clean: Prompt,
    corrupted: Prompt,
    metric: Any,
    component: Any = "resid_pre",
    **options: Any,
) -> Job:
    """Sweep activation patching, or attention modification; the job's result is a `Grid`.

    Args:
        session: Whose model.
        clean: The prompt whose values are put in; of "pattern" the only one.
        corrupted: The prompt that is run; "" for "pattern".
        metric: A `Logit` or `LogitDifference`.
        component: Of `tracing.patching.COMPONENTS`, or "pattern".
        options: For "pattern": key, query and factor.

    Raises:
        CircuitScopeError: No model is there.
    """
    request = SweepPatches(session.model_choice, clean, corrupted, metric, component, **options)
    what = "attention modification" if component == "pattern" else "activation patching"
    return session.jobs.add(f"Sweep of {what}", request)


def inspect_logits(
    session: Session, prompt: Prompt, metric: Any, component: Any = "parts", *, keep: bool = True
) -> Job:
    """Ask what components add to a logit or difference; the job's result is a `Grid`.

    Args:
        session: Whose model.
        prompt: Text or ids.
        metric: A `Logit` or `LogitDifference`.
        component: One of `tracing.logit_parts.COMPONENTS`.
        keep: Whether the grid is stored in the project, which is made where there is none.

    Raises:
        CircuitScopeError: No model is there.
    """
    request = ReadLens(session.model_choice, prompt, metric=metric, component=component)

    def store(job: Job, found: Any) -> None:
        if keep:
            words = " − ".join(found.provenance.settings["words"])
            project = session.project or session.new_project()
            job.result_id = project.add_finding(found, f"{words}, by component")

    return session.jobs.add("Logits by component", request, store)


def inspections(session: Session) -> list[FindingInfo]:
    """Return the inspections of logits that the project keeps, newest first."""
    project = session.project
    found = [] if project is None else project.findings()
    return [info for info in reversed(found) if info.method == INSPECTION]


def keep_cells(session: Session, grid: Grid, cells: Sequence[tuple[int, int]]) -> str:
    """Add cells of a sweep to the project as a circuit, show it and return its id.

    Raises:
        CircuitScopeError: No cell, or one that stands for no node.
    """
    circuit = circuit_of_cells(grid, cells)
    project = session.project or session.new_project()
    found = project.add_finding(circuit, f"{''.join(circuit.tokens).strip()} (patched)")
    session.activate(found)
    return found


def group_keys(rows: Mapping[RowKey, Row], keys: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the members of the groups that any of the nodes belongs to."""
    member = {key.id: str(row["group"]) for key, row in rows.items() if key.kind == "member"}
    wanted = dict.fromkeys(member[key] for key in keys if key in member)
    return [tuple(name for name, group in member.items() if group == one) for one in wanted]


def _title(nodes: Sequence[str], edges: Sequence[int], groups: Sequence[Sequence[str]]) -> str:
    number = len(nodes) + len(edges) + len(groups)
    if number == 1 and nodes:
        return describe(nodes[0])
    return f"{number} parts of the circuit" if number else "the strongest nodes"
