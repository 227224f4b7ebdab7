"""What a method is, and how one is found and run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Protocol

from circuitscope.core.anatomy import ModelAnatomy
from circuitscope.core.circuit import Circuit
from circuitscope.core.dictionary import DictionaryCard
from circuitscope.core.errors import TraceError
from circuitscope.core.progress import Progress, silent
from circuitscope.core.registry import Registry
from circuitscope.core.settings import TraceSettings
from circuitscope.models.reading import as_traced
from circuitscope.models.threads import fitting_threads
from circuitscope.tracing.directions import with_vectors

if TYPE_CHECKING:
    from circuitscope.dictionaries.dictionary import Dictionary
    from circuitscope.models.loading import LoadedModel

METHODS = "circuitscope.methods"
"""Entry-point group of the methods."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Say why a method cannot run here, and what would help."""

    reason: str
    hint: str = ""


class Method(Protocol):
    """Explain targets by sources; registered under its name.

    Attributes:
        title: What the window calls it.
        settings_type: The frozen dataclass of its settings.
    """

    title: str
    settings_type: type[TraceSettings]

    def requires(
        self, anatomy: ModelAnatomy, cards: Sequence[DictionaryCard], settings: TraceSettings
    ) -> Refusal | None:
        """Say why it cannot run on this model with these dictionaries; None where it can."""

    def run(
        self,
        model: LoadedModel,
        dictionaries: Sequence[Dictionary],
        settings: TraceSettings,
        progress: Progress,
    ) -> Circuit:
        """Compute a circuit."""


def find_method(name: str) -> Method:
    """Return a method by name.

    Raises:
        TraceError: There is none; the message lists those there are.
    """
    registry = Registry[Method](METHODS)
    found = registry.get(name)
    if found is None:
        raise TraceError(
            f"There is no method called {name!r}.", hint=f"Methods: {', '.join(registry.names())}."
        )
    return found


def trace(
    model: LoadedModel,
    settings: TraceSettings,
    dictionaries: Sequence[Dictionary] = (),
    progress: Progress | None = None,
) -> Circuit:
    """Run the method that the settings name.

    Args:
        model: A loaded model.
        settings: What to explain and how; `settings.dictionaries` only names folders, the
            dictionaries themselves are the next argument.
        dictionaries: Opened dictionaries; a `DictionarySet` reads only those that are used.
        progress: Hears of the work and may cancel it.

    Raises:
        TraceError: A setting has no such value, or the method cannot run on this model with these
            dictionaries, or the model's class is not known or it is not read right.
    """
    method = find_method(settings.method)
    check_settings(settings)
    model = as_traced(model)
    settings = replace(settings, targets=with_vectors(model, settings.targets))
    refusal = method.requires(model.anatomy, cards_of(dictionaries), settings)
    if refusal is not None:
        raise TraceError(refusal.reason, kept="Nothing has been changed.", hint=refusal.hint)
    with fitting_threads(model.anatomy):
        return method.run(model, dictionaries, settings, progress or silent())


_LEAST = {"max_nodes": 0, "batch_size": 1, "update_interval": 1, "max_logits": 1}


def check_settings(settings: TraceSettings) -> None:
    """Refuse values that a form would not offer.

    Raises:
        TraceError: A word is not among the choices, or a number is too small.
    """
    for item in fields(settings):
        value, choices = getattr(settings, item.name), item.metadata.get("choices")
        if choices is not None and value not in choices:
            raise TraceError(
                f"There is no {item.name}={value!r}.", hint=f"Choices: {', '.join(choices)}."
            )
        least = _LEAST.get(item.name)
        if least is not None and value is not None and value < least:
            raise TraceError(
                f"{item.name} cannot be {value}.", hint=f"Give a whole number from {least} up."
            )
    if not 0 <= settings.least_share < 1:
        raise TraceError(
            f"least_share cannot be {settings.least_share:g}.", hint="Give a share below 1."
        )
    if not 0 < settings.logit_mass <= 1:
        raise TraceError(
            f"logit_mass cannot be {settings.logit_mass:g}.",
            hint="Give a probability above 0 and up to 1.",
        )


def cards_of(dictionaries: Sequence[Dictionary]) -> tuple[DictionaryCard, ...]:
    """Return the cards of dictionaries without reading the weights of those still on disk."""
    known: tuple[DictionaryCard, ...] | None = getattr(dictionaries, "cards", None)
    return tuple(item.card for item in dictionaries) if known is None else known
