"""What a user changes inside a run; plain data, so that it can be stored and sent."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from circuitscope.core.anatomy import Site

Mode = Literal["zero", "mean", "set", "add", "scale", "swap"]


@dataclass(frozen=True, slots=True, eq=False)
class Intervention:
    """Change what passes a site.

    Attributes:
        site: Where, such as "head_z" or `Site.RESID_PRE`.
        layer: Block index; ignored for embed.
        head: One head of head_z; None for all.
        units: Entries of the last axis, such as neurons of mlp_hidden; None for all.
        positions: Positions, -1 is the last of the prompt; None for all, new tokens included.
        mode: zero; mean: `value` is the mean to write; set: write `value`; add: add `value`;
            scale: multiply by `value`; swap: write what `value`, another prompt, has there.
        value: Number or array that broadcasts to [positions, ...]; for swap text or token ids.
    """

    site: Site | str
    layer: int = 0
    head: int | None = None
    units: Sequence[int] | None = None
    positions: Sequence[int] | None = None
    mode: Mode = "zero"
    value: Any = None
