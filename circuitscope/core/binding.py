"""What a note is about: a node, an edge, a group, or the circuit as a whole.

As text in the field `about` of a note's row:

    ""                          the circuit
    node key text               a node
    group id, sketch id         a group, or a node drawn by hand
    "source -> target"          an edge between any two of these

Keys of nodes have five parts and no spaces, ids have neither slashes nor spaces, so every text
has one meaning.
"""

from dataclasses import dataclass
from typing import Final, Literal

_ARROW: Final = " -> "


@dataclass(frozen=True, slots=True)
class Binding:
    """Name what a note is about.

    Attributes:
        ends: Nothing for the circuit; one key or id for a node or group; source and target for an
            edge.
    """

    ends: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert len(self.ends) <= 2, "a note is about one thing"
        assert all(end and " " not in end for end in self.ends), "an end is a key or an id"

    @staticmethod
    def parse(text: str) -> "Binding":
        """Read the field `about`; a text that means nothing is about the circuit."""
        ends = tuple(text.split(_ARROW)) if text else ()
        sound = len(ends) <= 2 and all(end and " " not in end for end in ends)
        return Binding(ends if sound else ())

    def __str__(self) -> str:
        return _ARROW.join(self.ends)

    @property
    def kind(self) -> Literal["circuit", "node", "group", "edge"]:
        """Say what kind of thing it is; sketches count as groups, as neither is in the circuit."""
        if len(self.ends) != 1:
            return "edge" if self.ends else "circuit"
        return "node" if "/" in self.ends[0] else "group"
