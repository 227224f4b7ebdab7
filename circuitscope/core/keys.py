"""Name one node of one circuit, without ambiguity, in memory and as text.

The kind is part of the text, so an error node and a feature can never share a key (they can in
the public graph files: `0_24_7` is both).
"""

from dataclasses import dataclass
from enum import IntEnum

from circuitscope.core.anatomy import Site
from circuitscope.core.errors import CircuitScopeError


class NodeKind(IntEnum):
    """Say what a node stands for; the codes are stored in project files and never change."""

    TOKEN = 0
    POSITION = 1
    FEATURE = 2
    ERROR = 3
    HEAD = 4
    NEURON = 5
    BIAS = 6
    LOGIT = 7
    SCORE = 8
    OPAQUE = 9
    """A node of an imported graph whose type CircuitScope does not know."""

    @property
    def text(self) -> str:
        """Return the lower-case spelling used in keys."""
        return self.name.lower()


class BiasUnit(IntEnum):
    """Say which constant a BIAS node holds: its `unit`."""

    ENCODER = 0
    """What a target reads whatever the input: encoder biases, minus a subtracted b_dec."""
    DECODER = 1
    """The dictionary's b_dec, written into the residual stream."""
    MODULE = 2
    """The module's own biases on the way to a target: b_V through the pattern, b_O, b_in, b_out."""
    NORM = 3
    """The normalisation's own bias on the way to a target."""
    UNEMBED = 4
    """The unembedding's bias."""


@dataclass(frozen=True, slots=True, order=True)
class NodeKey:
    """Name one node; see the table of kinds in the manual for layer, position and unit."""

    kind: NodeKind
    site: Site
    layer: int
    position: int
    unit: int

    def __str__(self) -> str:
        kind, site = self.kind.text, self.site.text
        return f"{kind}/{site}/{self.layer}/{self.position}/{self.unit}"

    @staticmethod
    def parse(text: str) -> "NodeKey":
        """Read a key from its text form.

        Raises:
            CircuitScopeError: The text is not a node key.
        """
        try:
            kind, site, layer, position, unit = text.split("/")
            return NodeKey(
                NodeKind[kind.upper()], Site[site.upper()], int(layer), int(position), int(unit)
            )
        except (ValueError, KeyError):
            raise CircuitScopeError(
                f"{text!r} is not the name of a node.",
                hint="Node names look like feature/mlp_out/20/10/15589.",
            ) from None
