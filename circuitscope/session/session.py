"""The session: the open document, one engine, and every use case that needs work done.

Windows and the command line call these; nothing here knows Qt. Every `CircuitScopeError` comes
out of the call itself; errors of slow work end in `Job.error`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from psygnal import Signal

from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import ProjectError
from circuitscope.core.intervention import Intervention
from circuitscope.core.settings import AttentionScore, TraceSettings
from circuitscope.engine.client import Engine, ProcessEngine
from circuitscope.engine.reading import ReadGraph
from circuitscope.engine.reasons import ExplainAttention, Grow
from circuitscope.engine.requests import (
    Chat,
    CheckDictionaries,
    EstimateTrace,
    Generate,
    InspectDictionaries,
    InspectModel,
    Limits,
    ListDevices,
    ListModels,
    ModelChoice,
    Predict,
    PreviewPrompt,
    Prompt,
    Trace,
)
from circuitscope.engine.trials import ReadLens, TryChanges
from circuitscope.project.file import ProjectFile
from circuitscope.project.wording import describe, short
from circuitscope.session import feature_work, work
from circuitscope.session.document import Document
from circuitscope.session.edge_heads import EdgeHeads
from circuitscope.session.jobs import Job, JobQueue
from circuitscope.session.model import HeldModel, ModelStatus
from circuitscope.session.showing import Match, SearchResult, ViewSettings
from circuitscope.session.trials import dictionary_folders
from circuitscope.session.work import ExportOptions

__all__ = ["ExportOptions", "Match", "ModelStatus", "SearchResult", "Session", "ViewSettings"]


class Session(Document):
    """Carry out what the user asks of the document, the model and other files.

    Attributes:
        engine: Who works for the jobs.
        jobs: The queue of slow work.
        exported: The file that was written last, None before.
        edge_heads: Which heads edges of the active circuit pass.

    Args:
        engine: Default is a process of its own.
    """

    model_changed = Signal(object)
    """Emitted with the `ModelStatus`."""

    def __init__(self, engine: Engine | None = None) -> None:
        super().__init__()
        self.engine: Engine = engine or ProcessEngine()
        self.jobs = JobQueue(self.engine)
        self._model = HeldModel(self.jobs, self._model_changed)
        self.exported: Path | None = None
        self.edge_heads = EdgeHeads(self)
        self._limit_engine()
        self.preferences.changed.connect(self._limit_engine)

    # Model and traces

    @property
    def model(self) -> ModelStatus:
        """Return which model is held, and whether it is ready."""
        return self._model.status

    def load_model(self, path: Path | str, *, device: str = "", dtype: str = "") -> Job:
        """Load a model folder in the engine; `model_changed` tells how it goes.

        Args:
            path: Folder with config.json and safetensors.
            device: Left out, as preferred.
            dtype: Left out, as preferred.
        """
        preferred = self.preferences.now.engine
        choice = ModelChoice(
            str(Path(path).expanduser().absolute()),
            device or preferred.device, dtype or preferred.dtype,
        )  # fmt: skip
        return self._model.load(choice)

    @property
    def model_choice(self) -> ModelChoice:
        """Return what a request asks for as its model.

        Raises:
            CircuitScopeError: None is chosen.
        """
        return self._model.choice

    def list_models(self) -> Job:
        """Look into the Hugging Face cache; the job's result is a `ModelList`."""
        return self.jobs.add("List models", ListModels())

    def list_devices(self) -> Job:
        """Ask what models can be loaded to; the job's result is a `DeviceList`."""
        return self.jobs.add("List devices", ListDevices())

    def inspect_model(self, path: Path | str) -> Job:
        """Describe a model folder without its weights; the job's result is an `Inspected`."""
        folder = str(Path(path).expanduser().absolute())
        return self.jobs.add(f"Look at {Path(path).name}", InspectModel(folder))

    def preview(self, prompt: Prompt | Chat, n_next: int = 0) -> Job:
        """Split a prompt into tokens; the job's result is a `PromptPreview`.

        Args:
            prompt: Text, ids or a conversation.
            n_next: How many of the likeliest next tokens are told too.
        """
        return self.jobs.add("Read prompt", PreviewPrompt(self._model.choice, prompt, n_next))

    def estimate(self, settings: TraceSettings) -> Job:
        """Ask what memory a trace would need; the job's result is a `TraceEstimate`."""
        return self.jobs.add("Estimate memory", EstimateTrace(self._model.choice, settings))

    def generate(self, prompt: Prompt | Chat, n_tokens: int = 12, **options: Any) -> Job:
        """Continue a prompt; the job's result is a `Generation`, `options` those of `Generate`."""
        request = Generate(self._model.choice, prompt, n_tokens, **options)
        return self.jobs.add(f"Generate after “{_shown(prompt, self.circuit)}”", request)

    def predict(self, prompt: Prompt, n_alternatives: int = 10) -> Job:
        """Ask what the model expects after every token; the job's result is `Predictions`."""
        request = Predict(self._model.choice, prompt, n_alternatives)
        return self.jobs.add(f"Read what could follow “{_shown(prompt, self.circuit)}”", request)

    def try_changes(self, prompt: Prompt, changes: Sequence[Intervention], **options: Any) -> Job:
        """Run a prompt with and without changes; the job's result is a `Tried`.

        Args:
            prompt: Text or ids.
            changes: See `session.trials.change_of`.
            options: Other fields of `TryChanges`, such as n_tokens, seed and freeze.
        """
        choice = self._model.choice
        folders: tuple[str, ...] = ()
        if any(change.feature is not None for change in changes):
            folders = dictionary_folders(self.circuit, Path(choice.path), self.preferences.now)
        folders = options.pop("dictionaries", folders)
        request = TryChanges(choice, prompt, tuple(changes), folders, **options)
        return self.jobs.add(f"Try on “{_shown(prompt, self.circuit)}”", request)

    def lens(self, prompt: Prompt, top: int = 5) -> Job:
        """Ask what every residual state promotes; the job's result is a `Grid`."""
        return self.jobs.add(
            f"Lens on “{_shown(prompt, self.circuit)}”", ReadLens(self._model.choice, prompt, top)
        )

    def inspect_dictionaries(self, path: Path | str) -> Job:
        """Describe a dictionary folder; the job's result is a `DictionaryCards`."""
        return self.jobs.add(f"Look at {Path(path).name}", InspectDictionaries(str(path)))

    def check_dictionaries(
        self, prompt: Prompt, paths: Sequence[str], read_at: Sequence[str] = ()
    ) -> Job:
        """Measure dictionaries on a prompt; the job's result is a `DictionaryChecks`."""
        request = CheckDictionaries(self._model.choice, prompt, tuple(paths), tuple(read_at))
        return self.jobs.add("Check dictionaries", request)

    def trace(
        self,
        settings: TraceSettings,
        name: str = "",
        prompts: Sequence[Prompt] = (),
        share: float = 0.8,
    ) -> Job:
        """Compute a circuit, add it to the project and show it; `Job.result_id` is its id.

        Without an open project a new, untitled one is started. With several prompts, all are
        traced as one job, and the circuit is what appears in at least a share of them.
        """
        choice = self._model.choice
        project = self._project or self.new_project()

        def store(job: Job, circuit: Any) -> Iterator[None]:
            job.result_id = self._of(project).add_finding(circuit, name or _explained(circuit))
            job.result = None  # the project has it now
            work.fold_first_position(project, job.result_id)
            yield
            self.activate(job.result_id)
            for _ in feature_work.take_along(
                project, job.result_id, circuit, settings.dictionaries
            ):
                yield
                if project is not self._project:
                    return

        if settings.dictionaries:
            self.preferences.add_dictionaries(choice.path, settings.dictionaries)
        request = Trace(choice, settings, tuple(prompts), share)
        return self.jobs.add(f"Trace “{_shown(settings.prompt)}”", request, store)

    def grow(self, node: str) -> Job:
        """Trace further from a node of the active circuit: a new circuit, the drawing moves along.

        Args:
            node: Key of a feature, head or neuron without a row, or of an attention score.
        """
        circuit, drawing, project = self.circuit, self.drawing, self._project
        if circuit is None or drawing is None or project is None:
            raise ProjectError("No circuit is open.", hint="Open or trace one first.")
        rows, name = dict(drawing.rows), project.finding(self._active).name

        def store(job: Job, grown: Any) -> None:
            job.result_id = work.add_grown(self._of(project), grown, rows, name)
            job.result = None
            self.activate(job.result_id)
            if (index := grown.nodes.find(node)) is not None:
                self.select([index])

        title = f"Trace further from {describe(node)}"
        return self.jobs.add(title, Grow(self._model.choice, circuit, node), store)

    def explain_attention(
        self,
        edge: int | None = None,
        score: AttentionScore | None = None,
        contrast: int | None = None,
        most: int = 200,
    ) -> Job:
        """Say why a head looked where it did; the job's result is an `AttentionReasons`.

        Args:
            edge: Edge of the active circuit that passes attention, or leads into a score.
            score: The score to explain; None takes the one behind the edge's strongest part.
            contrast: Position of another key, whose score is subtracted.
            most: Pairs of sources listed; 0 asks for the edge by heads alone.
        """
        circuit = self.circuit
        if circuit is None:
            raise ProjectError("No circuit is open.", hint="Open or trace one first.")
        record = circuit.provenance.settings
        if "targets" not in record:
            raise ProjectError(
                "This circuit was not traced here, so its attention cannot be explained.",
                kept="The circuit is unchanged.", hint="Trace the prompt first.",
            )  # fmt: skip
        settings = replace(TraceSettings.from_json(record), prompt=circuit.token_ids)
        if settings.dictionaries and not all(Path(name).exists() for name in settings.dictionaries):
            # Shipped and moved projects name no folders of this machine.
            around = dictionary_folders(circuit, self._model.status.path, self.preferences.now)
            settings = replace(settings, dictionaries=around or settings.dictionaries)
        ends = None
        if edge is not None:
            found = circuit.edge(edge)
            ends = (str(found.source.key), str(found.target.key), found.weight)
        request = ExplainAttention(self._model.choice, settings, ends, score, contrast, most)
        return self.jobs.add("Why did it look there?", request)

    # Files

    def import_file(self, path: Path | str) -> Job:
        """Add the graph of a Neuronpedia / circuit-tracer JSON file to the project; show it."""
        file = Path(path).expanduser().absolute()
        project = self._project or self.new_project()

        def store(job: Job, read: Any) -> None:
            job.result_id = work.add_imported(self._of(project), read, file)
            job.result = None
            self.activate(job.result_id)

        return self.jobs.add(f"Import {file.name}", ReadGraph(str(file)), store)

    def export(
        self, path: Path | str, circuit_id: str = "", what: str = "auto", **options: Any
    ) -> tuple[str, ...]:
        """Write a circuit; the suffix says the format.

        Args:
            path: Where to.
            circuit_id: Id or name; the active circuit where left out.
            what: "link" (layers by tokens), "circuit" (the diagram) or "auto".
            options: Other fields of `ExportOptions`; the author is the preferred one.

        Returns:
            What the user should know about the figure.
        """
        project = self._need_project()
        which = circuit_id or self._active
        if not which:
            raise ProjectError("The project has no circuit to export.", hint="Trace one first.")
        info = project.finding(which)
        drawn = self._drawing_id if info.id == self._active else info.id
        chosen = {"author": self.preferences.now.projects.author, **options}
        told = work.export_circuit(
            project.circuit(info.id), project.drawing(drawn).rows, path, info.name,
            ExportOptions(what, **chosen), work.original_of(project, info.id, path),
        )  # fmt: skip
        self.exported = Path(path)
        return told

    # Life

    def warm_up(self) -> None:
        """Start the engine process where the user wants it early; returns at once."""
        if self.preferences.now.engine.start_early:
            self.engine.warm()

    def _limit_engine(self) -> None:
        chosen = self.preferences.now.engine
        self.engine.limits = Limits(chosen.threads, chosen.memory_share)

    def poll(self) -> None:
        """Hear the engine; the window calls it every 30 ms."""
        self.jobs.poll()

    def shut_down(self) -> None:
        """End the engine and close the project; call once, at the end."""
        self.engine.close()
        self.close()

    def _model_changed(self, status: ModelStatus) -> None:
        if status.state == "ready" and status.path is not None:
            self.preferences.add_recent("models", status.path)
        self.model_changed.emit(status)

    def _of(self, project: ProjectFile) -> ProjectFile:
        """Return the project that a job was for, or say that it is gone."""
        if project is not self._project:
            raise ProjectError(
                "The project that this was for has been closed, so the result has no place.",
                kept="The project's file is as it was saved.",
                hint="Open the project and run it again.",
            )
        return project


def _explained(circuit: Circuit) -> str:
    """Return what a trace without a name is called: its likeliest explained token."""
    order = np.argsort(-circuit.root_weights, kind="stable")
    return circuit.labels[int(circuit.roots[order[0]])].strip() if len(order) else ""


def _shown(prompt: Prompt | Chat, circuit: Circuit | None = None) -> str:
    """Name a prompt in a job's title; ids by the words of the circuit that has them too."""
    if isinstance(prompt, Chat):
        return short(prompt.turns[-1][1] if prompt.turns else "", 48)
    if isinstance(prompt, str):
        return short(prompt, 48)
    is_its = circuit is not None and tuple(prompt) == circuit.token_ids
    return short(circuit.prompt if is_its and circuit else f"{len(prompt)} token ids", 48)
