"""The outcome of a model's self-check: how exactly its captured parts give back the whole."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

TOLERANCE = 1e-4
"""Largest relative error at which a model counts as read right."""

HELD = "in which the weights are held"
"""In remarks that say that the model's own precision gives another answer than float32."""


@dataclass(frozen=True, slots=True)
class SelfCheck:
    """Worst relative errors of one run.

    Attributes:
        logits: Logits rebuilt from the last residual stream.
        patterns: Sums of attention patterns against one.
        residual: Residual stream against the sum of its writes.
        attention: Frozen attention maps against attn_out.
        mlp: Frozen MLP maps against mlp_out.
        reason: Why the run could not be made, "" where it was; then the errors are NaN.
    """

    logits: float = math.nan
    patterns: float = math.nan
    residual: float = math.nan
    attention: float = math.nan
    mlp: float = math.nan
    reason: str = ""

    @property
    def errors(self) -> dict[str, float]:
        """Return the errors by what they are of."""
        errors: dict[str, float] = asdict(self)
        del errors["reason"]
        return errors

    @property
    def worst(self) -> float:
        """Return the largest of the errors, NaN where one is."""
        found = self.errors.values()
        return math.nan if any(map(math.isnan, found)) else max(found)

    @property
    def passed(self) -> bool:
        """Return whether every error is within tolerance (a NaN is not)."""
        return not self.reason and all(error <= TOLERANCE for error in self.errors.values())

    @property
    def words(self) -> str:
        """Return the outcome as a phrase."""
        if self.reason:
            return f"its self-check could not be made ({self.reason})"
        if self.passed:
            return f"its parts give back the whole to {self.worst:.1g}"
        missed = [
            f"{_NAMES[name]} by {error:.2g}"
            for name, error in self.errors.items()
            if not error <= TOLERANCE
        ]
        return f"its parts miss {', '.join(missed)} of the size"

    def as_json(self) -> dict[str, Any]:
        """Return the errors for provenance; NaN, which JSON lacks, as None."""
        errors = {name: None if math.isnan(e) else e for name, e in self.errors.items()}
        return {**errors, "passed": self.passed, "reason": self.reason}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "SelfCheck":
        """Rebuild from `as_json`."""
        errors = {name: math.nan if data.get(name) is None else data[name] for name in _NAMES}
        return SelfCheck(**errors, reason=str(data.get("reason") or ""))


_NAMES = {
    "logits": "the logits",
    "patterns": "the sums of attention patterns",
    "residual": "the residual stream",
    "attention": "what attention writes",
    "mlp": "what the MLPs write",
}
