"""What a model says of two compared circuits: whether each works on the other's prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from circuitscope.core.finding import Grid, Provenance

METHOD = "comparison"


@dataclass(frozen=True, slots=True)
class Similar:
    """Two features that only one circuit each has, and that write nearly the same.

    Attributes:
        a, b: Their names as text.
        cosine: Between their decoder rows.
        together: Positions of both prompts where both are active; either: where one is.
    """

    a: str
    b: str
    cosine: float
    together: int
    either: int


@dataclass(frozen=True, eq=False)
class Transfer:
    """Circuits run on each other's prompts.

    Attributes:
        circuits: What the columns are called: both circuits, what they share, others.
        metrics: What is measured on the first and on the second prompt.
        whole: The metric of the whole model on each prompt, float64 [2]; ablated: with everything
            of the circuits' kinds replaced.
        kept: Share of the way from ablated to whole that a circuit alone keeps, float64
            [prompt, circuit]; never clipped, NaN where it could not be run.
        similar: Pairs of unmatched features, most alike first.
        elsewhere: What an unmatched node of the first circuit holds on the second prompt, and the
            reverse, by its name; 0 is silent. Features only.
        remarks: What a reader must know.
    """

    circuits: tuple[str, ...]
    metrics: tuple[str, str]
    whole: NDArray[np.float64]
    ablated: NDArray[np.float64]
    kept: NDArray[np.float64]
    similar: tuple[Similar, ...] = ()
    elsewhere: tuple[dict[str, float], dict[str, float]] = ({}, {})
    remarks: tuple[str, ...] = ()

    def as_settings(self) -> dict[str, Any]:
        """Return all but `kept` as JSON values."""
        return {
            "metrics": list(self.metrics), "whole": _plain(self.whole),
            "ablated": _plain(self.ablated), "remarks": list(self.remarks),
            "elsewhere": [dict(side) for side in self.elsewhere],
            "similar": [[s.a, s.b, s.cosine, s.together, s.either] for s in self.similar],
        }  # fmt: skip

    @staticmethod
    def from_settings(
        data: dict[str, Any], circuits: tuple[str, ...], kept: NDArray[np.float64]
    ) -> Transfer:
        """Rebuild from `as_settings`."""
        first, second = data["metrics"]
        one, other = data["elsewhere"]
        return Transfer(
            circuits, (str(first), str(second)), np.array(data["whole"], np.float64),
            np.array(data["ablated"], np.float64), np.asarray(kept, np.float64),
            tuple(Similar(str(a), str(b), float(c), int(n), int(m))
                  for a, b, c, n, m in data["similar"]),
            ({str(k): float(v) for k, v in one.items()},
             {str(k): float(v) for k, v in other.items()}), tuple(map(str, data["remarks"])),
        )  # fmt: skip


def _plain(values: NDArray[np.float64]) -> list[float | None]:
    """Return numbers as JSON has them, which knows no NaN."""
    return [None if np.isnan(value) else float(value) for value in values]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which circuits are compared, and how.

    Attributes:
        a, b: Ids of two circuits of the project; floor: of a third, the noise floor of a; "".
        align: How tokens are paired.
    """

    a: str
    b: str
    floor: str = ""
    align: str = "edit"
    node_threshold: float = 0.8
    edge_threshold: float = 0.98


def as_finding(
    chosen: Chosen,
    names: tuple[str, ...],
    scores: dict[str, float],
    transfer: Transfer | None,
    record: Provenance,
) -> Grid:
    """Return a comparison as a project keeps it; the alignment is made anew from the circuits.

    Args:
        chosen: What is compared.
        names: What the circuits are called: a, b and, where there is one, the floor.
        scores: Overlap, and that of the noise floor.
        transfer: What the model says; None where none was asked.
        record: Provenance to go on from: model, version, time.
    """
    from dataclasses import asdict, replace

    settings: dict[str, Any] = {"compared": asdict(chosen), "names": list(names)}
    columns, kept = names[:2], np.full((2, 2), np.nan)
    if transfer is not None:
        settings["transfer"] = transfer.as_settings()
        columns, kept = transfer.circuits, transfer.kept
    told = replace(record, method=METHOD, settings=settings, scores=scores)
    ticks = (names[:2], columns)
    return Grid(("prompt", "circuit"), ticks, kept.astype(np.float32), told)


def of_finding(found: Grid) -> tuple[Chosen, tuple[str, ...], Transfer | None]:
    """Return what `as_finding` was given.

    Raises:
        ValueError: It is no comparison.
    """
    settings = found.provenance.settings
    if found.provenance.method != METHOD or "compared" not in settings:
        raise ValueError(f"a comparison was expected, not {found.provenance.method!r}")
    known = Chosen.__dataclass_fields__
    chosen = Chosen(**{k: v for k, v in settings["compared"].items() if k in known})
    data = settings.get("transfer")
    transfer = None
    if data is not None:
        transfer = Transfer.from_settings(data, found.ticks[1], found.values.astype(np.float64))
    return chosen, tuple(settings["names"]), transfer
