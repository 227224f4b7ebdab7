"""Entries of attention patterns as people write them, and the changes they ask for.

| text | changed |
|---|---|
| `3.5:9<-4 x 0` | head 5 of layer 3 no longer looks from position 9 at position 4 |
| `3.5:9<-4 x 2.5` | what it brings from there counts 2.5 times |
| `3.all:-1<-4 x 0` | the same for every head of the layer, from the last position |
| `3.5:all<-4 x 0` | from every position, new ones too |
| `3.5:9<-all x 0` | whatever it looks at |

Several are separated by semicolons. Multiplied are probabilities after the softmax, which are not
made to sum to 1 again (Ortu et al. 2024, arXiv 2402.11655).
"""

from __future__ import annotations

import re

from circuitscope.core.anatomy import Site
from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.intervention import Intervention

FORM = "LAYER.HEAD:QUERY<-KEY x FACTOR"
EXAMPLE = "3.5:9<-4 x 0"
_ENTRY = re.compile(
    r"(\d+)\.(\d+|all):(-?\d+|all)\s*(?:<-|←)\s*(\d+|all)\s*[x×*]\s*(-?\d+(?:\.\d+)?)",
    re.IGNORECASE,
)


def attention_changes(text: str) -> tuple[Intervention, ...]:
    """Return the changes that a text asks for, in its order; an empty text asks for none.

    Raises:
        CircuitScopeError: A part of it names no entry.
    """
    found = []
    for part in filter(None, (one.strip() for one in text.split(";"))):
        entry = _ENTRY.fullmatch(part)
        if entry is None:
            raise CircuitScopeError(
                f"“{part}” names no entry of an attention pattern.",
                kept="Nothing has been run.",
                hint=f"Write {FORM}, such as {EXAMPLE}; all stands for any head, query or key.",
            )
        layer, head, query, key, factor = (one.lower() for one in entry.groups())
        found.append(
            Intervention(
                Site.PATTERN, int(layer), head=None if head == "all" else int(head),
                units=None if key == "all" else [int(key)],
                positions=None if query == "all" else [int(query)],
                mode="scale", value=float(factor),
            )
        )  # fmt: skip
    return tuple(found)
