"""What a user changes inside a run; plain data, so that it can be stored and sent."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from circuitscope.core.anatomy import Site

Mode = Literal["zero", "mean", "set", "add", "scale", "swap"]
MODES: tuple[Mode, ...] = ("zero", "mean", "set", "add", "scale", "swap")

Freeze = Literal["patterns", "norms"]
FREEZES: tuple[Freeze, ...] = ("patterns", "norms")
"""What may be held at the values of the unchanged model on the same tokens."""


@dataclass(frozen=True, slots=True, eq=False)
class Intervention:
    """Change what passes a site, or one dictionary feature of it.

    A feature's change is added to what the model really wrote: (new - old activation) times its
    decoder row, so what the dictionary does not explain stays. Features of one dictionary are
    read together, before the first of them is changed.

    Attributes:
        site: Where, such as "head_z" or `Site.RESID_PRE`. Queries, keys and values are the outputs
            of their projections; patterns are probabilities, and are not made to sum to 1 again.
        layer: Block index; ignored for embed.
        head: One head of head_z, head_q or pattern; one key-value head of head_k or head_v; None
            for all.
        units: Entries of the last axis, such as neurons of mlp_hidden or keys of pattern; None for
            all.
        positions: Positions, -1 is the last of the prompt; None for all, new tokens included.
            New tokens have the positions after the prompt's. Of pattern: queries.
        mode: zero; mean: write the mean `value`, or without one the mean over the prompt's
            positions; set: write `value`; add: add `value`; scale: multiply by `value`; swap:
            write what `value`, another prompt, has there.
        value: Number or array that broadcasts to [positions, ...]; for swap text or token ids.
        feature: A feature of `dictionary` instead of the site itself; the mode then changes its
            activation.
        dictionary: One of `load_dictionaries`.
    """

    site: Site | str
    layer: int = 0
    head: int | None = None
    units: Sequence[int] | None = None
    positions: Sequence[int] | None = None
    mode: Mode = "zero"
    value: Any = None
    feature: int | None = None
    dictionary: Any = None
