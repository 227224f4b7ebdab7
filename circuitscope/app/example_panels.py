"""Panels that an example brings to the window: one file and one registration each.

An example knows more of its model than the window does: what a token stands for, which prompts make
sense. It registers a class under `circuitscope.example_panels`; its panel becomes a dock while a
circuit is shown that it is for, and it is asked about prompts for its model. What fails in one is
written to the log, and that one is left out from then on; the window never notices.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from PySide6.QtWidgets import QWidget

from circuitscope.core.anatomy import ModelAnatomy
from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.registry import Registry

if TYPE_CHECKING:
    from circuitscope.app.desk import Desk

GROUP = "circuitscope.example_panels"
"""Entry-point group of the panels."""

log = logging.getLogger(__name__)


class ExamplePanel(Protocol):
    """Bring one panel; registered under a name of its own.

    Attributes:
        title: What the dock is called.
        prompt: A prompt for its models, as their user would type it; also its tokens, in the same
            order, where white space is left out.
    """

    title: str
    prompt: str

    def fits(self, model: Mapping[str, Any], tokens: Sequence[str]) -> bool:
        """Say whether it is for a model and a prompt.

        Args:
            model: `ModelAnatomy.as_json()`, or what an imported file says of its model.
            tokens: Texts of the circuit's tokens; empty where only a model is at hand.
        """

    def check_prompt(self, text: str) -> None:
        """Refuse a prompt that makes no sense for its model.

        Raises:
            CircuitScopeError: What is wrong, and what may be typed in its place.
        """

    def make(self, desk: "Desk") -> QWidget:
        """Make the panel; it follows the session by itself."""


class ExamplePanels:
    """Ask the registered panels, so that a broken one never stops the window.

    Attributes:
        registry: Where they come from.
    """

    def __init__(self) -> None:
        self.registry: Registry[ExamplePanel] | None = None
        try:
            self.registry = Registry(GROUP)
        except CircuitScopeError as error:
            log.warning("no panels of examples: %s", error.message)

    def names(self) -> list[str]:
        """Return the names of the panels that load."""
        return list(self.registry.all()) if self.registry is not None else []

    def ask(self, name: str, question: Callable[[ExamplePanel], Any], otherwise: Any = None) -> Any:
        """Ask one panel something; `otherwise` where it is broken."""
        return self.registry.ask(name, question, otherwise) if self.registry else otherwise

    def fits(self, name: str, circuit: Circuit | None) -> bool:
        """Say whether a panel is for a circuit."""
        if circuit is None:
            return False
        model, tokens = circuit.provenance.model, circuit.tokens
        return bool(self.ask(name, lambda panel: panel.fits(model, tokens), otherwise=False))

    def refusal(self, anatomy: ModelAnatomy | None, prompt: str) -> CircuitScopeError | None:
        """Return why a prompt makes no sense for a model; None where it does."""
        for name in self._for_model(anatomy):
            try:
                self.ask(name, lambda panel: panel.check_prompt(prompt))
            except CircuitScopeError as error:
                return error
        return None

    def sample(self, anatomy: ModelAnatomy | None) -> str:
        """Return a prompt as it may be typed for a model, "" where no panel knows one."""
        found = [
            self.ask(name, lambda panel: panel.prompt, "") for name in self._for_model(anatomy)
        ]
        return next(iter(found), "")

    def _for_model(self, anatomy: ModelAnatomy | None) -> list[str]:
        if anatomy is None:
            return []
        model = anatomy.as_json()
        return [
            name for name in self.names()
            if self.ask(name, lambda panel: panel.fits(model, ()), otherwise=False)
        ]  # fmt: skip
