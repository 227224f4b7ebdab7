"""Train a sparse autoencoder or a transcoder on stored activations.

Question answered: which few directions, out of many, make up each of these activations?

1. Bring inputs and outputs to unit root mean square, by one number each.
2. Train encoder and decoder (Adam) to rebuild the outputs from few features. Decoder rows are kept
   at unit length; features that no longer fire are set anew from the inputs that are rebuilt worst.
   Which features are active is one of three rules:
   - `batchtopk`: those whose pre-activation exceeds one threshold, which follows the batches so
     that `k` are active on average; it is fixed for the last steps (Bussmann, Leask and Nanda 2024,
     with its inference rule: a JumpReLU with one threshold and no gradient to it);
   - `topk`: the `k` largest of every activation (Gao et al. 2024);
   - `jumprelu`: those above a threshold of their own. How thresholds stand to each other is learned
     by straight-through gradients (Rajamanoharan et al. 2024, equation 11); their common factor
     follows the batches as above, in place of the paper's penalty, whose weight a user would have
     to search for.
3. Give the numbers of step 1 back to the weights, so that the dictionary reads raw activations.

An autoencoder is the case where inputs and outputs are the same array. Arrays may be mapped files
that are larger than memory. A checkpoint holds everything that the next step depends on, so a run
that was killed ends with the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from circuitscope.core.errors import Cancelled, CircuitScopeError
from circuitscope.core.progress import Progress, silent
from circuitscope.dictionaries.dictionary import top_k

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Activation", "DictionaryWeights", "TrainingSettings", "train_dictionary"]

Activation = Literal["batchtopk", "topk", "jumprelu"]

_WATCHED_ROWS = 128
# More at once would all be pointed at the same errors.
_RENEWED = 48
_THRESHOLD_INERTIA = 0.95
_BANDWIDTH = 0.05
"""Width of the window of straight-through gradients, where activations have mean square one."""
_CHECKPOINT_SECONDS = 60.0
_BLOCK = 65_536
"""Rows that are summed at once."""


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """Hold what decides a trained dictionary.

    Attributes:
        d_sae: Number of features.
        k: Number of active features per activation; with "topk" exactly, else on average.
        steps: Optimizer steps.
        batch_size: Activations per step.
        learning_rate: Peak learning rate; decayed to zero over the last half.
        renewal_interval: Steps without firing after which a feature is set anew.
        renewal_share: Share of the steps during which features are set anew.
        settled_share: Share of the steps, at the end, under the fixed threshold.
        seed: Seed of weights and batches.
        activation: The rule by which features are active.
    """

    d_sae: int = 512
    k: float = 16.0
    steps: int = 2000
    batch_size: int = 1024
    learning_rate: float = 3e-3
    renewal_interval: int = 100
    renewal_share: float = 0.6
    settled_share: float = 0.25
    seed: int = 0
    activation: Activation = "batchtopk"

    def __post_init__(self) -> None:
        if self.activation not in get_args(Activation):
            raise CircuitScopeError(
                f"Dictionaries are not trained by {self.activation!r}.",
                kept="Nothing was changed.",
                hint=f"Choose one of {', '.join(get_args(Activation))}.",
            )
        if min(self.k, self.d_sae, self.steps, self.batch_size) < 1:
            raise CircuitScopeError(
                f"{self.k:g} of {self.d_sae} features in {self.steps} steps of {self.batch_size} "
                "activations cannot be trained.",
                kept="Nothing was changed.",
                hint="Each of these numbers is at least 1.",
            )


@dataclass(frozen=True, slots=True)
class DictionaryWeights:
    """Hold a dictionary, float32, in the orientation of SAELens.

    Attributes:
        W_enc: Encoder, [d_in, d_sae].
        b_enc: Encoder bias, [d_sae].
        W_dec: Decoder, rows of unit length, [d_sae, d_out].
        b_dec: Decoder bias, [d_out].
        threshold: A feature is active where its pre-activation exceeds this, [d_sae].
        k: Of these, only so many of an activation are active, the largest; None for all.
    """

    W_enc: np.ndarray
    b_enc: np.ndarray
    W_dec: np.ndarray
    b_dec: np.ndarray
    threshold: np.ndarray
    k: int | None = None

    def encode(self, inputs: np.ndarray) -> np.ndarray:
        """Compute feature activations, [row, d_in] to [row, d_sae]."""
        before = inputs @ self.W_enc + self.b_enc
        active = np.where(before > self.threshold, before, 0).astype(np.float32)
        return active if self.k is None else top_k(torch.from_numpy(active), self.k).numpy()

    def decode(self, features: np.ndarray) -> np.ndarray:
        """Rebuild outputs, [row, d_sae] to [row, d_out]."""
        rebuilt: np.ndarray = features @ self.W_dec + self.b_dec
        return rebuilt


class _Rows:
    """Stored activations, [row, d], brought to unit root mean square where they are asked for."""

    def __init__(self, array: np.ndarray, importance: Tensor, scale: float | None = None) -> None:
        # A mapped file of float32 stays on disk.
        self.raw = torch.from_numpy(np.asarray(array, np.float32))
        self.importance = importance
        if scale is None:
            total = sum(
                (weight * rows.square().sum(1)).sum(dtype=torch.float64).item()
                for rows, weight in self._blocks()
            )
            scale = (total / importance.sum(dtype=torch.float64).item()) ** 0.5
        self.scale = scale or 1.0
        sums = [rows.sum(0, dtype=torch.float64) for rows, _ in self._blocks()]
        self.mean = (torch.stack(sums).sum(0) / len(self.raw) / self.scale).float()

    def __len__(self) -> int:
        return len(self.raw)

    def __getitem__(self, rows: Any) -> Tensor:
        scaled: Tensor = self.raw[rows] / self.scale
        return scaled

    def variance(self) -> float:
        """Return the weighted mean square distance from the mean."""
        total = 0.0
        for rows, weight in self._blocks():
            away = (rows / self.scale - self.mean).square().sum(1)
            total += (weight * away).sum(dtype=torch.float64).item()
        return total / len(self.raw) or 1.0

    def _blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(self.raw), _BLOCK):
            block = slice(start, start + _BLOCK)
            yield self.raw[block], self.importance[block]


class _Above(torch.autograd.Function):
    """Say which pre-activations exceed a threshold, 1 or 0; with gradients by a window around it.

    Rajamanoharan et al. 2024: the derivative by the threshold is -1/width in a window of this
    width, and 0 elsewhere; none to the pre-activations.
    """

    @staticmethod
    def forward(ctx: Any, before: Tensor, threshold: Tensor) -> Tensor:
        ctx.save_for_backward(before, threshold)
        return (before > threshold).to(before)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor]:
        before, threshold = ctx.saved_tensors
        near = (before - threshold).abs() < _BANDWIDTH / 2
        return None, -(grads[0] * near).sum(0) / _BANDWIDTH


class _Trainee(torch.nn.Module):
    """Hold a dictionary in training, in units where activations have mean square one."""

    threshold: Tensor

    def __init__(self, inputs: _Rows, outputs: _Rows, settings: TrainingSettings) -> None:
        super().__init__()
        self.settings = settings
        self.random = torch.Generator().manual_seed(settings.seed)
        shape = (settings.d_sae, outputs.raw.shape[1])
        decoder = _unit(torch.randn(shape, generator=self.random))
        encoder = decoder
        if inputs is not outputs:
            d_in = inputs.raw.shape[1]
            encoder = _unit(torch.randn((settings.d_sae, d_in), generator=self.random))
        self.W_dec = torch.nn.Parameter(decoder.clone())
        self.W_enc = torch.nn.Parameter(encoder.T.clone())
        self.b_enc = torch.nn.Parameter(-(inputs.mean @ self.W_enc.detach()))
        self.b_dec = torch.nn.Parameter(outputs.mean.clone())
        self.register_buffer("threshold", torch.zeros(()))
        self.log_threshold = None
        if settings.activation == "jumprelu":
            self.log_threshold = torch.nn.Parameter(torch.zeros(settings.d_sae))

    def levels(self) -> Tensor:
        """Return what pre-activations have to exceed, [d_sae]."""
        if self.log_threshold is not None:
            return self.log_threshold.detach().exp()
        return self.threshold.expand(self.settings.d_sae)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return features [row, d_sae] and outputs [row, d_out]."""
        before = inputs @ self.W_enc + self.b_enc
        if self.log_threshold is not None:
            threshold = self.log_threshold.exp()
            above: Tensor = _Above.apply(before, threshold)  # type: ignore[no-untyped-call]
            # At a threshold that moves, what is gained or lost is the threshold itself.
            features = before * above.detach() + threshold * (above - above.detach())
        elif self.settings.activation == "topk":
            features = top_k(before, round(self.settings.k))
        else:
            features = before * (before > self.threshold)
        return features, features @ self.W_dec + self.b_dec

    @torch.no_grad()
    def follow(self, inputs: Tensor, *, at_once: bool = False) -> None:
        """Move thresholds towards those that leave `k` features active on average."""
        before = inputs @ self.W_enc + self.b_enc
        if self.log_threshold is not None:
            before = before / self.levels()
        count = max(1, round(self.settings.k * len(before)))
        wanted = before.relu().flatten().topk(count).values[-1]
        inertia = 0.0 if at_once else _THRESHOLD_INERTIA
        if self.log_threshold is not None:
            self.log_threshold.add_((1 - inertia) * wanted.clamp(min=0.01).log())
        else:
            self.threshold.copy_(inertia * self.threshold + (1 - inertia) * wanted)

    @torch.no_grad()
    def renew(
        self,
        silent: Tensor,
        inputs: Tensor,
        wrong: Tensor,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        """Point silent features at activations that are rebuilt badly.

        Args:
            silent: Ids of the features to set anew.
            inputs: A batch of inputs, [row, d_in].
            wrong: What the dictionary leaves out of the batch's outputs, weighted, [row, d_out].
            optimizer: The optimizer, whose state for these features is forgotten.
        """
        if not len(silent):
            return
        odds = wrong.square().sum(1).cpu() + 1e-12
        rows = torch.multinomial(odds, len(silent), generator=self.random)
        self.W_dec[silent] = _unit(wrong[rows])
        # Along the centred input, so that the new feature fires on few other rows.
        encoder = _unit(inputs[rows] - inputs.mean(0))
        self.W_enc[:, silent] = encoder.T
        reading = (inputs[rows] * encoder).sum(1)
        self.b_enc[silent] = self.levels()[silent] + 0.5 * wrong[rows].norm(dim=1) - reading
        for weight, axis in ((self.W_enc, 1), (self.W_dec, 0), (self.b_enc, 0)):
            for moment in ("exp_avg", "exp_avg_sq"):
                optimizer.state[weight][moment].index_fill_(axis, silent, 0.0)

    @torch.no_grad()
    def start(self, inputs: Tensor, outputs: Tensor, labels: Tensor) -> None:
        """Give each label a feature: its mean output, written where a linear probe finds it.

        Args:
            inputs: What the encoder reads, [row, d_in].
            outputs: What the decoder writes, [row, d_out].
            labels: Which feature a row starts, -1 for none, int64 [row].
        """
        count = int(labels.max()) + 1
        member = functional.one_hot(labels + 1, count + 1)[:, 1:].float()
        means = member.T @ outputs / member.sum(0).clamp(min=1)[:, None]
        away = means - outputs.mean(0)
        centre = inputs.mean(0)
        centred = inputs - centre
        size = centred.square().sum(1).mean()
        gram = centred.T @ centred / len(inputs) + 1e-4 * size * torch.eye(inputs.shape[1])
        share = member.mean(0)
        probe = torch.linalg.solve(gram, centred.T @ (member - share) / len(inputs))
        reading = centred @ probe
        on = (reading * member).sum(0) / member.sum(0).clamp(min=1)
        scale = away.norm(dim=1) / on.clamp(min=1e-8)
        self.W_dec[:count] = _unit(away)
        self.W_enc[:, :count] = probe * scale
        self.b_enc[:count] = -(centre @ probe) * scale

    @torch.no_grad()
    def normalise(self) -> None:
        self.W_dec.copy_(_unit(self.W_dec))


def _unit(rows: Tensor) -> Tensor:
    """Scale rows to unit length."""
    length: Tensor = rows.norm(dim=1, keepdim=True)
    return rows / length.clamp(min=1e-8)


def train_dictionary(  # noqa: PLR0913 - options by keyword
    inputs: np.ndarray,
    outputs: np.ndarray | None = None,
    settings: TrainingSettings | None = None,
    *,
    weights: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    device: str | torch.device = "cpu",
    checkpoint: Path | None = None,
    checkpoint_seconds: float = _CHECKPOINT_SECONDS,
    progress: Progress | None = None,
) -> DictionaryWeights:
    """Train a dictionary that rebuilds outputs from inputs.

    Args:
        inputs: Activations that the encoder reads, float32 [row, d_in].
        outputs: Activations that the decoder writes, float32 [row, d_out]; the inputs if None.
        settings: What decides the result.
        weights: How much each row counts in the error, float32 [row]; 1 if None.
        labels: Labels of rows that shall start with a feature in common, which training may then
            change like any other; int64 [row], -1 for none.
        device: Where the steps are computed.
        checkpoint: A file that keeps the run, and from which it goes on when it is there.
        checkpoint_seconds: Time between two savings of it.
        progress: Hears of the steps and may cancel; the checkpoint is then saved.

    Returns:
        The dictionary, for raw activations. One machine gives the same one for the same seed.
    """
    settings, hear = settings or TrainingSettings(), progress or silent()
    if settings.k > settings.d_sae:
        raise CircuitScopeError(
            f"{settings.k:g} features cannot be active of {settings.d_sae}.",
            hint="Ask for more features or a smaller k.",
        )
    importance = torch.ones(len(inputs)) if weights is None else torch.from_numpy(weights).float()
    read = _Rows(inputs, importance)
    written = read if outputs is None else _Rows(outputs, importance)
    trainee = _Trainee(read, written, settings)
    if labels is not None:
        trainee.start(read[:], written[:], torch.from_numpy(labels))
    run = _Run(trainee.to(device), read, written, importance)
    _go(run, checkpoint, checkpoint_seconds, hear)
    trainee.cpu()
    ratio = written.scale / read.scale
    return DictionaryWeights(
        W_enc=(trainee.W_enc.detach() * ratio).numpy(),
        b_enc=(trainee.b_enc.detach() * written.scale).numpy(),
        W_dec=trainee.W_dec.detach().numpy(),
        b_dec=(trainee.b_dec.detach() * written.scale).numpy(),
        threshold=(trainee.levels().clamp(min=0) * written.scale).numpy(),
        k=round(settings.k) if settings.activation == "topk" else None,
    )


def _go(run: _Run, checkpoint: Path | None, seconds: float, progress: Progress) -> None:
    """Make the steps that are left."""
    if checkpoint is not None and run.restore(checkpoint):
        progress.note(f"Goes on after step {run.step}.")
    steps = run.trainee.settings.steps
    progress.phase("Training the dictionary", steps)
    progress.advance(run.step)
    saved = time.monotonic()
    try:
        while run.step < steps:
            left_out = run.advance()
            if run.step % 500 == 0:
                progress.note(f"Step {run.step}: {left_out.item():.4f} of the variance left out.")
            progress.advance()
            if checkpoint is not None and time.monotonic() - saved >= seconds:
                run.save(checkpoint)
                saved = time.monotonic()
    except Cancelled:
        # Heard between steps, where a run is whole.
        if checkpoint is not None:
            run.save(checkpoint)
        raise
    if checkpoint is not None:
        run.save(checkpoint)


class _Run:
    """A training under way, which can be saved between steps."""

    def __init__(self, trainee: _Trainee, read: _Rows, written: _Rows, importance: Tensor) -> None:
        self.trainee, self.read, self.written, self.importance = trainee, read, written, importance
        self.variance = written.variance()
        self.quiet = torch.zeros(trainee.settings.d_sae, dtype=torch.int64)
        self.step = 0
        settings = trainee.settings
        self.optimizer = torch.optim.Adam(
            trainee.parameters(), lr=settings.learning_rate, betas=(0.9, 0.99)
        )
        told = repr((sorted(asdict(settings).items()), len(read), read.scale, written.scale))
        told += repr(self.variance)
        self.fingerprint = hashlib.sha256(told.encode()).hexdigest()

    def advance(self) -> Tensor:
        """Make one step and return the share of the variance that the batch leaves out."""
        trainee, settings, step = self.trainee, self.trainee.settings, self.step
        device = trainee.W_dec.device
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate * min(
                1.0, (step + 1) / 50, 2 * (1 - step / settings.steps)
            )
        rows = torch.randint(len(self.read), (settings.batch_size,), generator=trainee.random)
        x = self.read[rows].to(device)
        y = x if self.written is self.read else self.written[rows].to(device)
        weight = self.importance[rows].to(device)
        settled_from = int(settings.steps * (1 - settings.settled_share))
        if settings.activation != "topk" and step <= settled_from:
            watched = x if step == settled_from else x[:_WATCHED_ROWS]
            trainee.follow(watched, at_once=step in (0, settled_from))
        features, rebuilt = trainee(x)
        wrong = y - rebuilt
        loss = (weight * wrong.square().sum(1)).mean() / self.variance
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if trainee.log_threshold is not None and step >= settled_from:
            trainee.log_threshold.grad = None
        self.optimizer.step()
        trainee.normalise()
        self._renew(features.detach(), x, wrong.detach() * weight.sqrt()[:, None])
        self.step += 1
        left_out: Tensor = loss.detach()
        return left_out

    def _renew(self, features: Tensor, x: Tensor, wrong: Tensor) -> None:
        trainee, settings, step = self.trainee, self.trainee.settings, self.step
        self.quiet += 1
        self.quiet[(features > 0).any(0).cpu()] = 0
        renewed_until = int(settings.steps * settings.renewal_share)
        if step < renewed_until and step % settings.renewal_interval == 0 and step:
            silent = (self.quiet >= settings.renewal_interval).nonzero().flatten()
            chosen = silent[torch.randperm(len(silent), generator=trainee.random)[:_RENEWED]]
            trainee.renew(chosen, x, wrong, self.optimizer)
            self.quiet[chosen] = 0

    def save(self, path: Path) -> None:
        """Write everything that the next step depends on, all or nothing."""
        moments = {
            f"{at}.{name}": value
            for at, state in self.optimizer.state_dict()["state"].items()
            for name, value in state.items()
        }
        tensors = {f"trainee.{name}": value for name, value in self.trainee.state_dict().items()}
        tensors |= {f"adam.{name}": value for name, value in moments.items()}
        tensors |= {"quiet": self.quiet, "random": self.trainee.random.get_state()}
        plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        fresh = path.with_name(f".{path.name}.tmp")
        save_file(plain, fresh, {"fingerprint": self.fingerprint, "step": str(self.step)})
        with fresh.open("rb") as file:
            os.fsync(file.fileno())
        fresh.replace(path)

    def restore(self, path: Path) -> bool:
        """Go on from a file of the same run; say whether there was one."""
        if not path.is_file():
            return False
        with safe_open(path, "pt") as stored:
            told = stored.metadata() or {}
            if told.get("fingerprint") != self.fingerprint:
                return False
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        parts: dict[str, dict[str, Tensor]] = {"trainee": {}, "adam": {}}
        for name, value in tensors.items():
            owner, _, rest = name.partition(".")
            if rest:
                parts[owner][rest] = value
        self.trainee.load_state_dict(parts["trainee"])
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in parts["adam"].items():
            at, _, rest = name.partition(".")
            state.setdefault(int(at), {})[rest] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.quiet = tensors["quiet"]
        self.trainee.random.set_state(tensors["random"])
        self.step = int(told["step"])
        return True
