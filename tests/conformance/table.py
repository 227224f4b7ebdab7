"""The conformance table: the worst error of each check in each family, printed after the tests."""

from collections.abc import Iterator

WORST: dict[str, dict[str, float]] = {}
CHECKS = {
    "logits": "logits rebuilt from the captured parts",
    "patterns": "attention patterns sum to one",
    "residual": "residual stream = sum of what was written",
    "linear": "the frozen model is linear",
    "walks": "walks in both directions agree, per map and whole",
    "autograd": "walks agree with autograd on the frozen module",
    "trace": "rows add up; direct effects measured on the module",
    "features": "rows through dictionaries of every kind add up",
    "hooks": "interventions equal plain forward hooks",
    "lens": "the lens's last row is what the model says",
    "halves": "held in bfloat16: equal to float32 of the same weights",
}
"""Column and what it measures; relative errors."""


def measured(variant: str, check: str, error: float, most: float) -> None:
    """Write an error down and fail where it is too large."""
    assert check in CHECKS
    row = WORST.setdefault(variant, {})
    row[check] = max(error, row.get(check, 0.0))
    assert error <= most, f"{variant}, {check}: {error:.2g} > {most:g}"


def lines() -> Iterator[str]:
    """Write the table."""
    wide = max(map(len, WORST), default=0)
    used = [check for check in CHECKS if any(check in row for row in WORST.values())]
    yield " ".join([" " * wide, *(f"{check:>8}" for check in used)])
    for variant, row in sorted(WORST.items()):
        cells = (f"{row[check]:8.0e}" if check in row else f"{'-':>8}" for check in used)
        yield " ".join([f"{variant:{wide}}", *cells])
    for check in used:
        yield f"  {check}: {CHECKS[check]}"
