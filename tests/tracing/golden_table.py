"""Golden agreement: the worst error of each quantity in each case, printed after the tests."""

from collections.abc import Iterator

WORST: dict[str, dict[str, float]] = {}
QUANTITIES = {
    "edges": "edges, of the row's largest",
    "values": "activations, relative",
    "chance": "probabilities of the targets, relative",
    "flow": "influence",
    "replace": "replacement score",
    "complete": "completeness score",
    "masks": "node and edge masks and selections that differ",
    "rows": "conservation of our own rows",
}
"""Column and what it measures."""


def measured(case: str, quantity: str, error: float, most: float) -> None:
    """Write an error down and fail where it is too large."""
    assert quantity in QUANTITIES
    row = WORST.setdefault(case, {})
    row[quantity] = max(error, row.get(quantity, 0.0))
    assert error <= most, f"{case}, {quantity}: {error:.2g} > {most:g}"


def lines() -> Iterator[str]:
    """Write the table."""
    wide = max(map(len, WORST), default=0)
    yield " ".join([" " * wide, *(f"{name:>8}" for name in QUANTITIES)])
    for case, row in sorted(WORST.items()):
        cells = (f"{row[name]:8.1e}" if name in row else f"{'-':>8}" for name in QUANTITIES)
        yield " ".join([f"{case:{wide}}", *cells])
    for name, what in QUANTITIES.items():
        yield f"  {name}: {what}"
