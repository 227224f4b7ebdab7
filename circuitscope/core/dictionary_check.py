"""How well a dictionary does on one text, as plain numbers and sentences."""

from dataclasses import asdict, dataclass
from typing import Any

from circuitscope.core.anatomy import Site

POOR = 0.5
"""Explained variance below which neighbouring sites are tried."""


@dataclass(frozen=True, slots=True)
class DictionaryCheck:
    """One layer of one dictionary on one text; position 0 is left out.

    Attributes:
        name: The dictionary.
        layer: The layer it reads and writes.
        read_site: Where it reads, as declared.
        l0: Active features per position.
        promised_l0: What its maker measured or fixed; None where the files do not say.
        explained_variance: Share of the variance of what is written there.
        silent_share: Share of features that are active nowhere in this text.
        loss: Mean loss of the next token, in nats; None where it cannot be measured.
        spliced_loss: The same with the reconstruction in place of what the model writes.
        better_site: A neighbouring site where it explains clearly more; None where there is none.
        better_variance: What it explains there.
    """

    name: str
    layer: int
    read_site: Site
    l0: float
    promised_l0: float | None
    explained_variance: float
    silent_share: float
    loss: float | None = None
    spliced_loss: float | None = None
    better_site: Site | None = None
    better_variance: float = 0.0

    @property
    def text(self) -> str:
        """Return the numbers on one line."""
        promised = "" if self.promised_l0 is None else f" (its maker: {self.promised_l0:g})"
        parts = [
            f"{self.l0:g} active a position{promised}",
            f"explains {self.explained_variance:.2f}",
            f"{self.silent_share:.0%} silent",
        ]
        if self.loss is not None and self.spliced_loss is not None:
            parts.append(f"loss {self.loss:.2f}, spliced {self.spliced_loss:.2f}")
        return " · ".join(parts)

    @property
    def advice(self) -> str:
        """Return a sentence where something is wrong, "" where nothing is."""
        if self.better_site is not None:
            return (
                f"{self.name}, declared {self.read_site.text}: {self.explained_variance:.2f} of "
                f"the variance explained; at {self.better_site.text}: {self.better_variance:.2f}."
            )
        if self.explained_variance < POOR:
            return (
                f"{self.name} explains only {self.explained_variance:.2f} of the variance in layer "
                f"{self.layer}, at no neighbouring site clearly more."
            )
        return ""

    @property
    def read_at(self) -> str:
        """Return the setting that reads it at the better site, "NAME=SITE", else ""."""
        return "" if self.better_site is None else f"{self.name}={self.better_site.text}"

    def as_json(self) -> dict[str, Any]:
        """Return a plain dictionary for files and pipes."""
        better = None if self.better_site is None else self.better_site.text
        return {**asdict(self), "read_site": self.read_site.text, "better_site": better}
