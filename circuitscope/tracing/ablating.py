"""Run a model with all heads but a few replaced by their means: what a circuit does on its own."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

import circuitscope
from circuitscope.core.errors import TraceError
from circuitscope.core.finding import Provenance
from circuitscope.core.progress import Progress, silent
from circuitscope.core.sources import MeanActivations
from circuitscope.models.drafting import draft
from circuitscope.models.preparing import prepare
from circuitscope.models.prompts import Written, read_prompt
from circuitscope.models.threads import fitting_threads
from circuitscope.tracing.injection import Means
from circuitscope.tracing.metrics import Meter
from circuitscope.tracing.relevance import Reading, read_logits
from circuitscope.tracing.run import libraries
from circuitscope.tracing.totals import run_copies, run_totals

if TYPE_CHECKING:
    from circuitscope.models.loading import LoadedModel


@dataclass(frozen=True, slots=True, order=True)
class Unit:
    """A head or an MLP, at a position or (-1) at all of them.

    Attributes:
        head: -1 for the MLP.
    """

    layer: int
    position: int
    head: int

    @property
    def stage(self) -> int:
        """Return its place in the order of computation: heads of a layer come before its MLP."""
        return 2 * self.layer + (self.head < 0)


Kept = Collection[Unit] | None
_MOST_ROWS = 2048


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One prompt with its metric and the means for its length."""

    ids: Tensor
    meter: Meter
    means: Means


def measure(case: Case, kept: Kept, *, mlps: bool = False) -> float:
    """Return the metric with only some units intact; see `measure_each`."""
    return measure_each(case, [kept], mlps=mlps)[0]


@dataclass(frozen=True, slots=True, eq=False)
class Choices:
    """Choices of heads and MLPs that stay intact, for prompts of one length.

    Attributes:
        z: Which heads stay, bool [layer, choice, pos, head, 1].
        mlp: Which MLPs stay, bool [layer, choice, pos, 1].
    """

    z: Tensor
    mlp: Tensor

    @property
    def n(self) -> int:
        """Return their number."""
        return self.z.shape[1]


def choices_of(case: Case, each: Sequence[Kept]) -> Choices:
    """Return units that stay intact as masks for the prompt's length; None keeps all."""
    blueprint, n = case.meter.blueprint, len(case.ids)
    shape = (blueprint.n_layers, len(each), n)
    z, mlp = np.zeros((*shape, blueprint.heads[0]), bool), np.zeros(shape, bool)
    for copy, kept in enumerate(each):
        if kept is None:
            z[:, copy] = mlp[:, copy] = True
        for unit in kept or ():
            at = slice(None) if unit.position < 0 else unit.position
            if unit.head < 0:
                mlp[unit.layer, copy, at] = True
            else:
                z[unit.layer, copy, at, unit.head] = True
    device = case.ids.device
    return Choices(*(torch.from_numpy(part[..., None]).to(device) for part in (z, mlp)))


def measure_each(case: Case, each: Sequence[Kept] | Choices, *, mlps: bool = False) -> list[float]:
    """Return the metric of a prompt for each choice of units that stay intact.

    Args:
        case: The prompt.
        each: Units that keep what they hold; all other heads hold their mean, or 0. None keeps
            all. The choices run as copies of the prompt, side by side.
        mlps: Whether MLPs that are not kept are replaced too.
    """
    chosen = each if isinstance(each, Choices) else choices_of(case, each)
    blueprint, meter = case.meter.blueprint, case.meter
    reading = Reading((meter.position,), meter.tokens)
    step = max(1, _MOST_ROWS // len(case.ids))
    found: list[float] = []
    with torch.no_grad():
        for start in range(0, chosen.n, step):
            part = slice(start, min(start + step, chosen.n))
            change = _Replaced(case, Choices(chosen.z[:, part], chosen.mlp[:, part]))
            copies = part.stop - part.start
            final = run_copies(blueprint, case.ids, copies, change.z, change.mlp if mlps else None)
            found += meter.value(read_logits(blueprint, final, reading)[:, 0]).tolist()
    return found


class _Replaced:
    def __init__(self, case: Case, kept: Choices) -> None:
        self._means, self._kept = case.means, kept

    def z(self, layer: int, z: Tensor) -> Tensor:
        """Replace the heads that are not kept."""
        mean = z.new_zeros(()) if self._means.z is None else self._means.z[layer]
        return torch.where(self._kept.z[layer], z, mean)

    def mlp(self, layer: int, out: Tensor) -> Tensor:
        """Replace the MLPs that are not kept."""
        mean = out.new_zeros(()) if self._means.mlp is None else self._means.mlp[layer]
        return torch.where(self._kept.mlp[layer], out, mean)


def measure_over(
    cases: Sequence[Case], each: Sequence[Kept], *, mlps: bool = False
) -> tuple[float, ...]:
    """Return the metric averaged over prompts, for each choice of units that stay intact."""
    found = np.mean([measure_each(case, each, mlps=mlps) for case in cases], axis=0)
    return tuple(found.tolist())


def faithfulness_of(cases: Sequence[Case], kept: Collection[Unit], *, mlps: bool = False) -> float:
    """Return (m(C) - m(0)) / (m(M) - m(0)), metrics averaged over prompts.

    Raises:
        TraceError: The metric does not change when everything is replaced.
    """
    whole, empty, own = measure_over(cases, (None, (), kept), mlps=mlps)
    if abs(whole - empty) < 1e-9 * max(1.0, abs(whole)):
        raise TraceError(
            "The metric is the same with every head replaced, so nothing can be faithful to it.",
            kept="Nothing has been changed.",
            hint="Choose another metric or other prompts.",
        )
    return (own - empty) / (whole - empty)


def mean_activations(
    model: LoadedModel,
    prompts: Sequence[Written],
    *,
    weights: str = "raw",
    progress: Progress | None = None,
) -> MeanActivations:
    """Average what heads and MLPs hold over prompts.

    Prompts of one length give a mean per position, others one mean over all positions.

    Raises:
        TraceError: No prompts.
    """
    hear = progress or silent()
    if isinstance(prompts, str) or not len(prompts):
        raise TraceError(
            "Means need a list of prompts.", hint="Give several prompts of the same kind."
        )
    read = [read_prompt(model, prompt).token_ids for prompt in prompts]
    blueprint = prepare(draft(model), weights)
    same = len({len(ids) for ids in read}) == 1
    z_sum: list[np.ndarray] = []
    n = 0
    hear.phase("Mean activations", len(read))
    with fitting_threads(model.anatomy), torch.no_grad():
        for ids in read:
            totals = run_totals(blueprint, torch.tensor(ids, device=model.device))
            found = [
                torch.stack([one.attention.z for one in totals.layers]),
                torch.stack([one.mlp.out.after for one in totals.layers]),
            ]
            arrays = [(part if same else part.sum(1)).double().cpu().numpy() for part in found]
            z_sum = arrays if not z_sum else [a + b for a, b in zip(z_sum, arrays, strict=True)]
            n += 1 if same else len(ids)
            hear.advance()
    dtype: type[np.floating] = np.float64 if model.dtype == torch.float64 else np.float32
    z, mlp = ((part / n).astype(dtype) for part in z_sum)
    return MeanActivations(z, mlp, model.anatomy.digest, len(read), weights)


def provenance_of_means(model: LoadedModel) -> Provenance:
    """Return where stored means come from."""
    return Provenance(
        "means", app_version=circuitscope.__version__, model=model.anatomy.as_json(),
        dtype=str(model.dtype).removeprefix("torch."), device=str(model.device),
        started=datetime.now(UTC).isoformat(timespec="seconds"), libraries=libraries(),
    )  # fmt: skip
