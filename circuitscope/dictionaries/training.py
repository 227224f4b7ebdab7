"""Train a sparse autoencoder or a transcoder on stored activations.

Question answered: which few directions, out of many, make up each of these activations?

1. Bring inputs and outputs to unit root mean square, by one number each.
2. Train encoder and decoder (Adam) to rebuild the outputs from the features whose pre-activation
   exceeds one threshold, which follows the batches so that `k` features are active on average.
   Decoder rows are kept at unit length; features that no longer fire are set anew from the inputs
   that are rebuilt worst.
3. Fix the threshold on the whole sample and fit decoder and biases once more under it.
4. Give the numbers of step 1 back to the weights, so that the dictionary reads raw activations.

Reference: BatchTopK (Bussmann, Leask and Nanda, 2024), with its inference rule, a JumpReLU with
one threshold (Rajamanoharan et al., 2024). Ignored: gradients to the threshold. An autoencoder is
the case where inputs and outputs are the same array.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DictionaryWeights", "TrainingSettings", "train_dictionary"]

_WATCHED_ROWS = 128
# More at once would all be pointed at the same errors.
_RENEWED = 48
_THRESHOLD_INERTIA = 0.95


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """Hold what decides a trained dictionary.

    Attributes:
        d_sae: Number of features.
        k: Mean number of active features per activation.
        steps: Optimizer steps.
        batch_size: Activations per step.
        learning_rate: Peak learning rate; decayed to zero over the last half.
        renewal_interval: Steps without firing after which a feature is set anew.
        renewal_share: Share of the steps during which features are set anew.
        settled_share: Share of the steps, at the end, under the fixed threshold.
        seed: Seed of weights and batches.
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


@dataclass(frozen=True, slots=True)
class DictionaryWeights:
    """Hold a JumpReLU dictionary, float32, in the orientation of SAELens.

    Attributes:
        W_enc: Encoder, [d_in, d_sae].
        b_enc: Encoder bias, [d_sae].
        W_dec: Decoder, rows of unit length, [d_sae, d_out].
        b_dec: Decoder bias, [d_out].
        threshold: A feature is active where its pre-activation exceeds this, [d_sae].
    """

    W_enc: np.ndarray
    b_enc: np.ndarray
    W_dec: np.ndarray
    b_dec: np.ndarray
    threshold: np.ndarray

    def encode(self, inputs: np.ndarray) -> np.ndarray:
        """Compute feature activations, [row, d_in] to [row, d_sae]."""
        before = inputs @ self.W_enc + self.b_enc
        return np.where(before > self.threshold, before, 0).astype(np.float32)

    def decode(self, features: np.ndarray) -> np.ndarray:
        """Rebuild outputs, [row, d_sae] to [row, d_out]."""
        rebuilt: np.ndarray = features @ self.W_dec + self.b_dec
        return rebuilt


class _Trainee(torch.nn.Module):
    """Hold a dictionary in training, in units where activations have mean square one."""

    def __init__(self, inputs: torch.Tensor, outputs: torch.Tensor, settings: TrainingSettings):
        super().__init__()
        self.settings = settings
        self.random = torch.Generator().manual_seed(settings.seed)
        shape = (settings.d_sae, outputs.shape[1])
        decoder = _unit(torch.randn(shape, generator=self.random))
        encoder = decoder
        if inputs is not outputs:
            encoder = _unit(torch.randn((settings.d_sae, inputs.shape[1]), generator=self.random))
        self.W_dec = torch.nn.Parameter(decoder.clone())
        self.W_enc = torch.nn.Parameter(encoder.T.clone())
        self.b_enc = torch.nn.Parameter(-(inputs.mean(0) @ self.W_enc.detach()))
        self.b_dec = torch.nn.Parameter(outputs.mean(0))
        self.threshold = torch.tensor(0.0)

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        before = inputs @ self.W_enc + self.b_enc
        features = before * (before > self.threshold)
        return before, features, features @ self.W_dec + self.b_dec

    @torch.no_grad()
    def follow(self, before: torch.Tensor, *, at_once: bool = False) -> None:
        """Move the threshold towards the one that leaves `k` features active on average."""
        count = max(1, round(self.settings.k * len(before)))
        wanted = before.relu().flatten().topk(count).values[-1]
        inertia = 0.0 if at_once else _THRESHOLD_INERTIA
        self.threshold = inertia * self.threshold + (1 - inertia) * wanted

    @torch.no_grad()
    def renew(
        self,
        silent: torch.Tensor,
        inputs: torch.Tensor,
        wrong: torch.Tensor,
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
        odds = wrong.square().sum(1) + 1e-12
        rows = torch.multinomial(odds, len(silent), generator=self.random)
        self.W_dec[silent] = _unit(wrong[rows])
        # Along the centred input, so that the new feature fires on few other rows.
        encoder = _unit(inputs[rows] - inputs.mean(0))
        self.W_enc[:, silent] = encoder.T
        reading = (inputs[rows] * encoder).sum(1)
        self.b_enc[silent] = self.threshold + 0.5 * wrong[rows].norm(dim=1) - reading
        for weight, axis in ((self.W_enc, 1), (self.W_dec, 0), (self.b_enc, 0)):
            for moment in ("exp_avg", "exp_avg_sq"):
                optimizer.state[weight][moment].index_fill_(axis, silent, 0.0)

    @torch.no_grad()
    def start(self, inputs: torch.Tensor, outputs: torch.Tensor, labels: torch.Tensor) -> None:
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


def _unit(rows: torch.Tensor) -> torch.Tensor:
    """Scale rows to unit length."""
    length: torch.Tensor = rows.norm(dim=1, keepdim=True)
    return rows / length.clamp(min=1e-8)


def train_dictionary(
    inputs: np.ndarray,
    outputs: np.ndarray | None = None,
    settings: TrainingSettings | None = None,
    *,
    weights: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    report: Callable[[int, float], None] | None = None,
) -> DictionaryWeights:
    """Train a dictionary that rebuilds outputs from inputs.

    Args:
        inputs: Activations that the encoder reads, float32 [row, d_in].
        outputs: Activations that the decoder writes, float32 [row, d_out]; the inputs if None.
        settings: What decides the result.
        weights: How much each row counts in the error, float32 [row]; 1 if None.
        labels: Labels of rows that shall start with a feature in common, which training may then
            change like any other; int64 [row], -1 for none.
        report: Called now and then with the step and the share of the variance left out.

    Returns:
        The dictionary, for raw activations. One machine gives the same one for the same seed.
    """
    settings = settings or TrainingSettings()
    read = torch.from_numpy(np.ascontiguousarray(inputs, dtype=np.float32))
    importance = torch.ones(len(read)) if weights is None else torch.from_numpy(weights).float()
    scale_in = _size(read, importance)
    read = read / scale_in
    written, scale_out = read, scale_in
    if outputs is not None:
        written = torch.from_numpy(np.ascontiguousarray(outputs, dtype=np.float32))
        scale_out = _size(written, importance)
        written = written / scale_out
    trainee = _Trainee(read, written, settings)
    if labels is not None:
        trainee.start(read, written, torch.from_numpy(labels))
    _optimise(trainee, read, written, importance, report)
    ratio = scale_out / scale_in
    return DictionaryWeights(
        W_enc=(trainee.W_enc.detach() * ratio).numpy(),
        b_enc=(trainee.b_enc.detach() * scale_out).numpy(),
        W_dec=trainee.W_dec.detach().numpy(),
        b_dec=(trainee.b_dec.detach() * scale_out).numpy(),
        threshold=np.full(settings.d_sae, max(trainee.threshold.item(), 0.0) * scale_out, "f4"),
    )


def _size(rows: torch.Tensor, importance: torch.Tensor) -> float:
    """Return the weighted root mean square length of rows."""
    total = (importance * rows.square().sum(1)).sum() / importance.sum()
    return total.sqrt().item()


def _optimise(
    trainee: _Trainee,
    read: torch.Tensor,
    written: torch.Tensor,
    importance: torch.Tensor,
    report: Callable[[int, float], None] | None,
) -> None:
    settings = trainee.settings
    optimizer = torch.optim.Adam(trainee.parameters(), lr=settings.learning_rate, betas=(0.9, 0.99))
    renewed_until = int(settings.steps * settings.renewal_share)
    settled_from = int(settings.steps * (1 - settings.settled_share))
    variance = (importance * (written - written.mean(0)).square().sum(1)).mean()
    quiet = torch.zeros(settings.d_sae, dtype=torch.int64)
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * min(
                1.0, (step + 1) / 50, 2 * (1 - step / settings.steps)
            )
        rows = torch.randint(len(read), (settings.batch_size,), generator=trainee.random)
        x, y, weight = read[rows], written[rows], importance[rows]
        if step <= settled_from:
            watched = x if step == settled_from else x[:_WATCHED_ROWS]
            before = (watched @ trainee.W_enc + trainee.b_enc).detach()
            trainee.follow(before, at_once=step in (0, settled_from))
        _, features, rebuilt = trainee(x)
        wrong = y - rebuilt
        loss = (weight * wrong.square().sum(1)).mean() / variance
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        trainee.normalise()
        quiet += 1
        quiet[(features.detach() > 0).any(0)] = 0
        if step < renewed_until and step % settings.renewal_interval == 0 and step:
            silent = (quiet >= settings.renewal_interval).nonzero().flatten()
            chosen = silent[torch.randperm(len(silent), generator=trainee.random)[:_RENEWED]]
            trainee.renew(chosen, x, wrong.detach() * weight.sqrt()[:, None], optimizer)
            quiet[chosen] = 0
        if report and step % 500 == 0:
            report(step, loss.item())
