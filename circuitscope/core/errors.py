"""Errors that a user can cause, and what to tell them.

Every message says what happened with the names and numbers; `kept` says what is safe; `hint`
says what to do. Programming mistakes stay AssertionError and TypeError.
"""


class CircuitScopeError(Exception):
    """Tell a user what happened, what is safe and what to do.

    Args:
        message: What happened, a full sentence with names and numbers.
        kept: What is unharmed.
        hint: What to do next.
    """

    def __init__(self, message: str, *, kept: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.kept = kept
        self.hint = hint

    def __str__(self) -> str:
        return "\n".join(part for part in (self.message, self.kept, self.hint) if part)

    def __reduce__(self) -> tuple:
        """Rebuild the same error on the other side of the engine's pipe."""
        return _rebuild, (type(self), self.message, self.kept, self.hint)


def _rebuild(kind: type[CircuitScopeError], message: str, kept: str, hint: str) -> Exception:
    return kind(message, kept=kept, hint=hint)


class ModelError(CircuitScopeError):
    """Say what is wrong with a model folder or its use."""


class UnsupportedArchitecture(ModelError):
    """No family describes this architecture."""


class ModelFilesMissing(ModelError):
    """A folder lacks files that a model needs."""


class OutOfMemory(ModelError):
    """The device cannot hold what was asked of it."""


class PromptError(ModelError):
    """A prompt is empty, too long, or holds words that the model does not know."""


class DoubleBos(PromptError):
    """A prompt begins with two tokens that mark the beginning."""


class DictionaryError(CircuitScopeError):
    """Say what is wrong with a dictionary."""


class UnknownFormat(DictionaryError):
    """No reader recognises these files."""


class DictionaryMismatch(DictionaryError):
    """A dictionary's shapes, sites or layers do not fit the model."""


class DictionaryFilesMissing(DictionaryError):
    """Files of a dictionary are not on this computer."""


class UnsafeFile(CircuitScopeError):
    """A file asks for code to be run."""


class TraceError(CircuitScopeError):
    """Say why a trace cannot be made."""


class TargetNotFound(TraceError):
    """The thing to explain does not exist in this run of the model."""


class NothingActive(TraceError):
    """No source is active, so there is nothing to trace."""


class ConservationBroken(TraceError):
    """A row's parts do not add up to its pre-activation."""


class EngineDied(TraceError):
    """The engine process ended before the job did."""


class ProjectError(CircuitScopeError):
    """Say what is wrong with a project file."""


class NotAProject(ProjectError):
    """The file is not a CircuitScope project."""


class NewerFormat(ProjectError):
    """The file was written by a newer version."""


class ProjectLocked(ProjectError):
    """Another process has the project open."""


class ChangedOnDisk(ProjectError):
    """Another program has changed the file since it was opened."""


class DamagedProject(ProjectError):
    """Parts of the file cannot be trusted."""


class EditConflict(ProjectError):
    """An edit was made against rows that have changed since."""


class ExchangeError(CircuitScopeError):
    """Say what is wrong with an import or an export."""


class UnreadableGraph(ExchangeError):
    """The file does not hold a graph that can be read."""


class CannotExpress(ExchangeError):
    """The format has no place for what was asked."""


class QueryError(CircuitScopeError):
    """Part of what was typed into a search or a filter is not understood."""


class Cancelled(Exception):
    """Stop a job because the user asked; never shown as an error."""
