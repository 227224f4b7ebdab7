"""The model a session works with: chosen here, held by the engine, its state told to all."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from circuitscope.core.anatomy import ModelAnatomy
from circuitscope.core.errors import CircuitScopeError, ModelError
from circuitscope.core.model_check import SelfCheck
from circuitscope.engine.requests import LoadModel, ModelChoice, ModelReady
from circuitscope.session.jobs import Job, JobQueue


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """Say which model the session works with and whether it is ready.

    Attributes:
        choice: The model and how it is to be held.
        device: Where it is, "" before it is ready.
        dtype: Its precision, "" before it is ready.
        has_tokenizer: False where prompts can only be token ids.
        error: Why it could not be loaded.
        has_chat_template: Whether conversations can be written out.
        bos: The token that marks the beginning, "" where there is none.
        check: How exactly its parts give back the whole; None before it is ready, and where its
            class is not known.
    """

    state: Literal["none", "loading", "ready", "failed"] = "none"
    choice: ModelChoice | None = None
    anatomy: ModelAnatomy | None = None
    device: str = ""
    dtype: str = ""
    has_tokenizer: bool = True
    error: CircuitScopeError | None = None
    has_chat_template: bool = False
    bos: str = ""
    check: SelfCheck | None = None

    @property
    def why_untraced(self) -> str:
        """Return why a model that is ready cannot be traced, "" where it can."""
        if self.state != "ready" or (self.check is not None and self.check.passed):
            return ""
        if self.check is None:
            return "The arithmetic of its class is not known."
        return f"It is not read right: {self.check.words}."

    @property
    def path(self) -> Path | None:
        """Return the model's folder."""
        return Path(self.choice.path) if self.choice is not None else None


class HeldModel:
    """Follow the jobs that load the model.

    Attributes:
        status: How things stand.

    Args:
        jobs: Where loading is queued.
        changed: Called with every new status.
    """

    def __init__(self, jobs: JobQueue, changed: Callable[[ModelStatus], None]) -> None:
        self.status = ModelStatus()
        self._jobs = jobs
        self._changed = changed

    @property
    def choice(self) -> ModelChoice:
        """Return the model to work with.

        Raises:
            ModelError: None is chosen.
        """
        if self.status.choice is None:
            raise ModelError(
                "No model is chosen.",
                kept="Saved circuits can be looked at and edited without one.",
                hint="Choose a model folder first.",
            )
        return self.status.choice

    def load(self, choice: ModelChoice) -> Job:
        """Queue the loading of a model; the one loaded before is freed first."""
        self._tell(ModelStatus("loading", choice))
        title = f"Load {Path(choice.path).name}"
        job = self._jobs.add(title, LoadModel(choice), self._loaded)
        job.changed.connect(self._job_changed)
        return job

    def _loaded(self, job: Job, ready: Any) -> None:
        if isinstance(ready, ModelReady) and self._concerns(job):
            self._tell(
                ModelStatus(
                    "ready", self.choice, ready.anatomy, ready.device, ready.dtype,
                    ready.has_tokenizer, None, ready.has_chat_template, ready.bos,
                    ready.check,
                )
            )  # fmt: skip

    def _job_changed(self, job: Job) -> None:
        if not self._concerns(job):
            return
        if job.state == "failed":
            self._tell(replace(self.status, state="failed", error=job.error))
        elif job.state == "cancelled":
            self._tell(ModelStatus())

    def _concerns(self, job: Job) -> bool:
        request = job.request
        return isinstance(request, LoadModel) and request.model == self.status.choice

    def _tell(self, status: ModelStatus) -> None:
        self.status = status
        self._changed(status)
