"""Rotary settings of a config.json, in whichever of their three spellings.

Older files have `rope_theta` beside `rope_scaling`; transformers 5 writes one `rope_parameters`,
and one for each kind of attention where local and global layers differ. GPT-NeoX says
`rotary_emb_base` and `rotary_pct`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Rope:
    """How one kind of attention turns its queries and keys.

    Attributes:
        theta: Base of the frequencies.
        kind: "default", "linear", "dynamic", "yarn", "longrope" or "llama3".
        factor: By how much the scaled kinds stretch the context; 1 where they say nothing.
        share: Part of each head that is turned.
    """

    theta: float
    kind: str = "default"
    factor: float = 1.0
    share: float = 1.0

    @property
    def text(self) -> str:
        """Return the settings in words, such as "theta 500000, llama3 x 8"."""
        parts = [f"theta {self.theta:g}"]
        if self.kind != "default":
            parts.append(f"{self.kind} x {self.factor:g}" if self.factor != 1 else self.kind)
        if self.share != 1:
            parts.append(f"{self.share:.0%} of each head")
        return ", ".join(parts)


def rope_settings(
    config: Mapping[str, Any], attention: str = "full_attention", theta: float = 10_000.0
) -> Rope:
    """Read the rotary settings of one kind of attention.

    Args:
        config: config.json, or the part of it about text.
        attention: "full_attention" or "sliding_attention".
        theta: The family's own base, where the file leaves it out.
    """
    given = config.get("rope_parameters") or {}
    if isinstance(given.get(attention), Mapping):
        given = given[attention]
    # Gemma 3 turns local attention by a base of its own and never stretches it.
    local = attention == "sliding_attention" and "rope_local_base_freq" in config
    old: Mapping[str, Any] = {} if local else config.get("rope_scaling") or {}
    base = config.get("rope_local_base_freq") if local else config.get("rope_theta")
    found = {**old, **given}
    return Rope(
        theta=float(found.get("rope_theta") or base or config.get("rotary_emb_base") or theta),
        kind=str(found.get("rope_type") or found.get("type") or "default"),
        factor=float(found.get("factor") or 1),
        share=float(
            found.get("partial_rotary_factor")
            or config.get("partial_rotary_factor")
            or config.get("rotary_pct")
            or 1
        ),
    )
