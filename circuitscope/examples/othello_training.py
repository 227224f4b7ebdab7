"""Train Othello-GPT, and have its dictionaries trained.

1. Play fresh random games; no game is used twice (`othello.play`).
2. Train a small GPT-2 on them, the matrices of its blocks with Muon, the rest with AdamW: batches
   grow, the learning rates fall on a half cosine, both with the share of the budget that is used
   up, in games or in hours.
3. Every five minutes put weights, optimizers and curve into one safetensors file; a later run goes
   on from there as if it had never stopped.
4. Measure legality on games of another seed; write the model folder, tokenizer and card.
5. When asked to, train dictionaries at every layer (`othello_dictionaries`), test what holds of
   the findings (`othello_report`) and make the ready project (`othello_project`).

The loss is the cross-entropy of the next move in expectation over the draw of that move: random
games play every legal move equally often, so the target is the uniform distribution over them. It
has the gradient that the drawn move has on average, with less noise; `targets="drawn"` trains on
the drawn move alone.

Run with `python -m circuitscope.examples.othello_training --hours 2.5`; the same line resumes.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.nn import functional
from transformers import GPT2LMHeadModel

from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.shipped import shipped_path
from circuitscope.examples import (
    othello,
    othello_dictionaries,
    othello_project,
    othello_report,
)
from circuitscope.examples.muon import Muon
from circuitscope.examples.othello_model import (
    LOSSES,
    QUICK_GAMES,
    TRAINING_GAMES,
    ModelSettings,
    Run,
    measure_legality,
    new_model,
    to_tensors,
    write_json,
    write_model,
)

__all__ = ["Budget", "OtherSettings", "make", "train"]

_log = logging.getLogger(__name__)

_HOURS = 2.5
_WANTED_LEGAL = 0.98
# Games are played this many at a time; which game is which must not depend on the batches.
_BLOCK = 4096


@dataclass(frozen=True, slots=True)
class Budget:
    """Hold when training ends: at so many games or seconds, whichever comes first.

    A budget in games gives the same model on every run of one machine; one in seconds does not.

    Attributes:
        games: Games to train on.
        seconds: Seconds to train for, all runs together, without those spent measuring.
    """

    games: float = math.inf
    seconds: float = math.inf

    def share(self, games: int, seconds: float) -> float:
        """Return how much of the budget is used up, 1 at the end."""
        if games >= self.games or seconds >= self.seconds:
            return 1.0
        return max(games / self.games, seconds / self.seconds)


class OtherSettings(CircuitScopeError):  # noqa: N818 - named for what happened
    """Say that a checkpoint was made with other settings."""


class _Games:
    """Give out the games of one endless sequence that a seed decides."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._block = -1
        self._games = othello.play(0, 0)

    def __call__(self, at: int, n: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return tokens, int64 [game, pos], and legal next moves, bool [game, pos, token]."""
        tokens, legal = [], []
        while n:
            block, offset = divmod(at, _BLOCK)
            if block != self._block:
                self._block = block
                self._games = othello.play((self._seed, TRAINING_GAMES, block), _BLOCK)
            part = self._games[offset : offset + n]
            tokens.append(part.tokens)
            legal.append(part.legal)
            at, n = at + len(part), n - len(part)
        return to_tensors(np.concatenate(tokens), np.concatenate(legal))


def _loss(
    model: GPT2LMHeadModel, tokens: torch.Tensor, legal: torch.Tensor, targets: str
) -> torch.Tensor:
    """Measure the loss per move that is predicted, in nats."""
    asked = legal.any(-1)
    logits = model(input_ids=tokens[:, :-1]).logits[asked]
    if targets == "drawn":
        return functional.cross_entropy(logits, tokens[:, 1:][asked])
    wanted = legal[asked].float()
    return functional.cross_entropy(logits, wanted / wanted.sum(-1, keepdim=True))


class _Trainer:
    """Hold model and optimizer of a run, and bring both to a checkpoint and back."""

    def __init__(self, settings: ModelSettings, budget: Budget, path: Path) -> None:
        self.settings, self.budget, self.path = settings, budget, path
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = new_model(settings).to(self.device)
        self.weights = dict(self.model.named_parameters())
        inside = {n: w for n, w in self.weights.items() if ".h." in n and w.ndim == 2}
        others = [w for name, w in self.weights.items() if name not in inside]
        self.optimizers = (
            Muon(inside.values(), lr=settings.learning_rate, weight_decay=settings.weight_decay),
            torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
        )
        self.games = _Games(settings.seed)
        self.run = Run()
        if path.is_file():
            self._load()

    @property
    def share(self) -> float:
        return self.budget.share(self.run.games, self.run.seconds)

    def schedule(self) -> float:
        """Return the share of the peak learning rates at which the next step is taken."""
        s = self.settings
        cosine = 0.5 + 0.5 * math.cos(math.pi * self.share)
        warm = min(1.0, (self.run.games + 1) / s.warmup_games)
        return warm * (s.final_share + (1 - s.final_share) * cosine)

    def step(self) -> float:
        """Take one optimizer step and return its loss."""
        size = [size for share, size in self.settings.batches if share <= self.share][-1]
        size = int(min(size, self.budget.games - self.run.games))
        tokens, legal = (t.to(self.device) for t in self.games(self.run.games, size))
        peaks = (self.settings.learning_rate, self.settings.other_learning_rate)
        for optimizer, peak in zip(self.optimizers, peaks, strict=True):
            optimizer.param_groups[0]["lr"] = peak * self.schedule()
        self.model.zero_grad(set_to_none=True)
        loss = _loss(self.model, tokens, legal, self.settings.targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.run.games += size
        self.run.steps += 1
        return loss.item()

    def save(self) -> None:
        """Put everything into one file, which is there as a whole or not at all."""
        tensors = {f"weight/{name}": w.detach() for name, w in self.weights.items()}
        for name, weight in self.weights.items():
            for optimizer in self.optimizers:
                for part, value in optimizer.state.get(weight, {}).items():
                    tensors[f"optimizer/{part}/{name}"] = value
        state = json.dumps({"settings": asdict(self.settings), "run": asdict(self.run)})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        save_file({k: v.contiguous() for k, v in tensors.items()}, partial, {"state": state})
        partial.replace(self.path)
        write_json(self.path.with_name("curve.json"), self.run.curve)

    def _load(self) -> None:
        with safe_open(self.path, "pt", device=str(self.device)) as file:
            state = json.loads(file.metadata()["state"])
            if state["settings"] != json.loads(json.dumps(asdict(self.settings))):
                raise OtherSettings(
                    f"{self.path} was made with other settings than those asked for now.",
                    kept="The checkpoint is unchanged.",
                    hint="Ask for the same settings, or delete the file to start anew.",
                )
            for name, weight in self.weights.items():
                weight.data.copy_(file.get_tensor(f"weight/{name}"))
            for key in file.keys():  # noqa: SIM118 - this is no dictionary
                kind, _, rest = key.partition("/")
                if kind == "optimizer":
                    part, _, name = rest.partition("/")
                    optimizer = self.optimizers[part != "momentum"]
                    optimizer.state[self.weights[name]][part] = file.get_tensor(key)
        self.run = Run(**state["run"])


def train(
    settings: ModelSettings,
    budget: Budget,
    path: Path,
    *,
    report: Callable[[Run], None] = lambda run: None,
    save_seconds: float = 300.0,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[GPT2LMHeadModel, Run]:
    """Train the model, or go on from a checkpoint.

    Args:
        settings: What decides the model.
        budget: When to stop.
        path: The checkpoint; `curve.json` is kept beside it.
        report: Called after every step.
        save_seconds: Seconds between checkpoints.
        clock: Tells seconds.

    Returns:
        The model in evaluation mode on the CPU, and the run.

    Raises:
        OtherSettings: The checkpoint was made with other settings.
    """
    trainer = _Trainer(settings, budget, path)
    run, saved, before = trainer.run, clock(), clock()
    begun = run.steps
    while trainer.share < 1:
        loss = trainer.step()
        now = clock()
        run.seconds += now - before
        if run.games // settings.curve_games > (run.curve[-1]["at"] if run.curve else 0):
            _add_point(trainer, loss)
        report(run)
        if now - saved >= save_seconds:
            trainer.save()
            saved = clock()
        before = clock()
    if run.steps > begun:
        trainer.save()
    return trainer.model.eval().cpu(), run


def _add_point(trainer: _Trainer, loss: float) -> None:
    """Measure the model on a few games and put the point on the curve."""
    run = trainer.run
    point = {
        "at": run.games // trainer.settings.curve_games,
        "games": run.games,
        "seconds": round(run.seconds, 1),
        "loss": round(loss, 5),
        "learning_rate": round(trainer.settings.learning_rate * trainer.schedule(), 7),
        "legal": round(measure_legality(trainer.model, QUICK_GAMES), 5),
    }
    run.curve.append(point)
    _log.info(
        "%d games, %.0f games/s: loss %.4f, legal %.2f %%, %.1f %% of the budget.",
        run.games,
        run.games / max(run.seconds, 1e-9),
        loss,
        100 * point["legal"],
        100 * trainer.share,
    )


def make(out: Path, build: Path, settings: ModelSettings, budget: Budget) -> None:
    """Train the model as far as the budget goes, and write its folder.

    Args:
        out: Where the example goes; its folder `model` is replaced.
        build: Where the checkpoint is kept.
        settings: What decides the model.
        budget: When to stop; a budget that is used up already only writes the folder.
    """
    model, run = train(settings, budget, build / "checkpoint.safetensors")
    folder = build / "model"
    shutil.rmtree(folder, ignore_errors=True)
    legal = write_model(folder, model, run, settings)
    shutil.rmtree(out / "model", ignore_errors=True)
    shutil.copytree(folder, out / "model")
    _log.info("%s: %d games, legal %.2f %%.", out / "model", run.games, 100 * legal)
    if legal < _WANTED_LEGAL:
        _log.warning("Less than %.0f %%: train on more games.", 100 * _WANTED_LEGAL)


def main(arguments: list[str] | None = None) -> None:
    """Make the example from the command line."""
    parser = argparse.ArgumentParser(prog="python -m circuitscope.examples.othello_training")
    parser.add_argument("--out", type=Path, default=Path("projects/othello"))
    parser.add_argument("--build", type=Path, default=Path("build/othello"))
    parser.add_argument("--hours", type=float, help="hours of training, all runs together")
    parser.add_argument("--games", type=int, help="games to train on; the same model every time")
    parser.add_argument("--targets", choices=sorted(LOSSES), default=ModelSettings().targets)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="other numbers round otherwise")
    parser.add_argument(
        "--write", action="store_true", help="write the model of the checkpoint as it is now"
    )
    parser.add_argument(
        "--dictionaries", action="store_true", help="only train dictionaries for the written model"
    )
    parser.add_argument("--all", action="store_true", help="everything, to the ready project")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("fontTools").setLevel(logging.WARNING)
    torch.set_num_threads(chosen.threads)
    settings = ModelSettings(targets=chosen.targets, seed=chosen.seed)
    if chosen.dictionaries:
        othello_dictionaries.make(chosen.out, chosen.build)
        return
    hours, games = chosen.hours, chosen.games
    if chosen.write:
        hours = games = 0
    elif hours is None and games is None:
        hours = _HOURS
    budget = Budget(
        games=math.inf if games is None else games,
        seconds=math.inf if hours is None else 3600 * hours,
    )
    make(chosen.out, chosen.build, settings, budget)
    if chosen.all:
        othello_dictionaries.make(chosen.out, chosen.build)
        resources = shipped_path("resources")
        page = resources / "manual" / "othello-findings.md"
        othello_report.make(chosen.out, page, resources / "pictures")
        othello_project.build(chosen.out)


if __name__ == "__main__":
    main()
