"""Induction models: small transformers in which it is known which heads matter.

Question: does discovery by contextual decomposition find the heads that we know are at work?

1. Train a GPT-2 of 4 layers x 8 heads, from each of five seeds, to repeat: a run of random tokens,
   then the same run again. Nothing but the second half counts. A group penalty leaves the job to
   few heads; those that then write next to nothing are emptied, which changes no answer.
2. Before discovery runs, fix the truth by what heads look at, on fresh sequences: a head is in
   where it looks at the token before (previous-token score) or at the token after the last
   occurrence of the present one (induction score) with more than half of its attention.
3. Discover the heads behind the next token's logit against another token's, on prompts of one set;
   measure faithfulness on another.
4. ROC AUC of all heads of all seeds, pooled: does the score of discovery rank the heads that are in
   above those that are not?

Run with `python -m circuitscope.examples.induction`. With `--dense` there is no penalty: many heads
write something and few are in, which is harder.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel

import circuitscope as cs
from circuitscope.core.agreement import area_under_curve
from circuitscope.core.progress import silent
from circuitscope.models.loading import LoadedModel
from circuitscope.tracing.discovery import Search, discover_units

log = logging.getLogger(__name__)

N_LAYERS, N_HEADS = 4, 8
THRESHOLD = 0.5
"""A head is in the truth where its previous-token or induction score is higher."""
SILENT = 0.02
"""A head is silent where the size of its output weights is less than this share of the largest."""


@dataclass(frozen=True, slots=True)
class Training:
    """How an induction model is trained.

    Attributes:
        shortest, longest: Length of the run that is repeated.
        sparsity: Weight of the sum of what the heads write with (group lasso): a job is done by
            few heads, not by a bit of every head.
        fading: Weight decay of queries, keys and values: a head without a job sees all alike.
    """

    n_vocab: int = 40
    d_model: int = 128
    d_mlp: int = 64
    shortest: int = 6
    longest: int = 16
    steps: int = 800
    batch_size: int = 48
    rate: float = 2e-3
    weight_decay: float = 0.1
    sparsity: float = 0.02
    fading: float = 1.0
    seed: int = 0

    @property
    def n_ctx(self) -> int:
        """Return the length of the longest sequence."""
        return 2 * self.longest


def repeated(how: Training, n: int, length: int, generator: torch.Generator) -> Tensor:
    """Return runs of random tokens, each twice, int64 [n, 2 length]; no token twice in a run."""
    order = torch.rand(n, how.n_vocab, generator=generator).argsort(-1)
    return order[:, :length].repeat(1, 2)


def written(block: Any) -> Tensor:
    """Return the size of what each head of a block writes with, [head]."""
    out: Tensor = torch.unflatten(block.attn.c_proj.weight, 0, (N_HEADS, -1))
    return out.square().sum((1, 2)).sqrt()


def train(how: Training) -> GPT2LMHeadModel:
    """Train one model."""
    torch.manual_seed(how.seed)
    config = GPT2Config(
        vocab_size=how.n_vocab, n_positions=how.n_ctx, n_embd=how.d_model, n_layer=N_LAYERS,
        n_head=N_HEADS, n_inner=how.d_mlp, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        bos_token_id=0, eos_token_id=0, tie_word_embeddings=False,
        architectures=["GPT2LMHeadModel"],
    )  # fmt: skip
    model = GPT2LMHeadModel(config).train()
    reading = {id(block.attn.c_attn.weight) for block in model.transformer.h}
    kinds: dict[float, list[torch.nn.Parameter]] = {}
    for parameter in model.parameters():
        decay = how.weight_decay if parameter.dim() > 1 else 0.0
        decay = how.fading if id(parameter) in reading else decay
        kinds.setdefault(decay, []).append(parameter)
    optimizer = torch.optim.AdamW(
        [{"params": params, "weight_decay": decay} for decay, params in kinds.items()],
        lr=how.rate, betas=(0.9, 0.98),
    )  # fmt: skip
    generator = torch.Generator().manual_seed(how.seed)
    for step in range(how.steps):
        length = int(torch.randint(how.shortest, how.longest + 1, (), generator=generator))
        ids = repeated(how, how.batch_size, length, generator)
        warm = min(1.0, (step + 1) / 100)
        for group in optimizer.param_groups:
            group["lr"] = how.rate * warm * 0.5 * (1 + math.cos(math.pi * step / how.steps))
        logits = model(input_ids=ids).logits[:, length:-1]
        loss = functional.cross_entropy(logits.flatten(0, 1), ids[:, length + 1 :].flatten())
        size = torch.stack([written(block).sum() for block in model.transformer.h]).sum()
        loss = loss + how.sparsity * size
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % 250 == 0:
            log.info("seed %d, step %d: loss %.3f", how.seed, step + 1, loss.item())
    empty_silent_heads(model)
    return model.eval()


@torch.no_grad()
def empty_silent_heads(model: GPT2LMHeadModel) -> int:
    """Set all weights of heads that write next to nothing to 0 and return how many they are.

    They change no answer; but a pattern that nothing follows from would be taken for a job.
    """
    sizes = torch.stack([written(block) for block in model.transformer.h])
    silent = sizes < SILENT * sizes.max()
    for layer, head in silent.nonzero().tolist():
        attention = model.transformer.h[layer].attn
        d_head = attention.c_proj.weight.shape[0] // N_HEADS
        own = slice(head * d_head, (head + 1) * d_head)
        attention.c_proj.weight[own] = 0
        torch.unflatten(attention.c_attn.weight, 1, (3, -1))[:, :, own] = 0
        torch.unflatten(attention.c_attn.bias, 0, (3, -1))[:, own] = 0
    return int(silent.sum())


@torch.no_grad()
def pattern_scores(model: GPT2LMHeadModel, how: Training) -> NDArray[np.float64]:
    """Return previous-token and induction score of every head, [2, layer, head].

    Mean attention to the token before, at all positions; and, in the second run, to the token
    after the last occurrence of the present one.
    """
    length = how.longest * 3 // 4
    ids = repeated(how, 64, length, torch.Generator().manual_seed(10_000 + how.seed))
    model.set_attn_implementation("eager")
    patterns = torch.stack(model(input_ids=ids, output_attentions=True).attentions)
    later, second = torch.arange(1, 2 * length), torch.arange(length, 2 * length)
    looked = [
        patterns[..., query, key].mean((1, 3))
        for query, key in ((later, later - 1), (second, second - length + 1))
    ]
    found: NDArray[np.float64] = torch.stack(looked).double().numpy()
    return found


def truth(model: GPT2LMHeadModel, how: Training) -> NDArray[np.bool_]:
    """Return which heads are in, bool [layer, head]; looks at nothing but patterns."""
    return (pattern_scores(model, how) > THRESHOLD).any(0)


def accuracy(model: GPT2LMHeadModel, how: Training) -> float:
    """Return how often the likeliest token of the second run is the right one."""
    length = how.longest * 3 // 4
    ids = repeated(how, 64, length, torch.Generator().manual_seed(20_000 + how.seed))
    with torch.no_grad():
        said = model(input_ids=ids).logits[:, length:-1].argmax(-1)
    return float((said == ids[:, length + 1 :]).double().mean())


def prompts(how: Training, n: int, seed: int) -> tuple[list[list[int]], list[cs.LogitDifference]]:
    """Return prompts that end inside a second run, each with the next token against another."""
    generator = torch.Generator().manual_seed(seed)
    length = how.longest * 3 // 4
    n_more = length // 2
    ids = repeated(how, n, length, generator)[:, : length + n_more]
    wrong = (n_more + torch.randint(1, length, (n,), generator=generator)) % length
    metrics = [
        cs.LogitDifference(row[n_more], row[other])
        for row, other in zip(ids.tolist(), wrong.tolist(), strict=True)
    ]
    return ids.tolist(), metrics


@dataclass(frozen=True, slots=True, eq=False)
class Recovered:
    """What discovery makes of one model.

    Attributes:
        scores: Of every head, [layer, head]; inside: the truth.
        found: Heads of the circuit.
        faithfulness: On prompts of their own.
        accuracy: Of the model.
    """

    scores: NDArray[np.float64]
    inside: NDArray[np.bool_]
    found: tuple[tuple[int, int], ...]
    faithfulness: float
    accuracy: float


def recover(
    module: GPT2LMHeadModel, how: Training, n_prompts: int = 25, n_heads: int = 12
) -> Recovered:
    """Fix the truth, discover the heads, and measure the circuit on other prompts."""
    inside = truth(module, how)
    model = as_loaded(module)
    texts, metrics = prompts(how, n_prompts, 30_000 + how.seed)
    others, other_metrics = prompts(how, n_prompts, 40_000 + how.seed)
    found, faithful, _ = discover_units(
        model, texts, metrics, Search(n_heads=n_heads), evaluation=others,
        evaluation_metric=other_metrics, progress=silent(),
    )  # fmt: skip
    scores = np.zeros((N_LAYERS, N_HEADS))
    for unit, score in zip(found.sweep.units, found.node_scores, strict=True):
        scores[unit.layer, unit.head] = score
    heads = tuple((unit.layer, unit.head) for unit in found.units)
    return Recovered(scores, inside, heads, faithful, accuracy(module, how))


def as_loaded(module: GPT2LMHeadModel) -> LoadedModel:
    """Return a module as a model of the program, without a tokenizer."""
    from circuitscope.models.families.gpt2 import GPT2

    module.set_attn_implementation("eager")
    module.eval().requires_grad_(requires_grad=False)
    anatomy = GPT2().describe(module.config.to_dict())
    return LoadedModel(anatomy, module, None, GPT2(), torch.device("cpu"), torch.float32)


def pooled(runs: list[Recovered]) -> float:
    """Return the ROC AUC over the heads of all models together."""
    scores = np.concatenate([run.scores.ravel() for run in runs])
    return area_under_curve(scores, np.concatenate([run.inside.ravel() for run in runs]))


def report(runs: list[Recovered]) -> dict[str, Any]:
    """Return the numbers of the table as JSON values."""
    return {
        "auc": pooled(runs),
        "faithfulness": [run.faithfulness for run in runs],
        "models": [
            {
                "accuracy": run.accuracy, "in": int(run.inside.sum()),
                "auc": area_under_curve(run.scores.ravel(), run.inside.ravel()),
                "faithfulness": run.faithfulness, "found": [list(head) for head in run.found],
                "truth": np.argwhere(run.inside).tolist(),
            }
            for run in runs
        ],
    }  # fmt: skip


def main() -> None:
    """Train the models, recover their heads and print the table."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    parser = argparse.ArgumentParser(description="Discover the heads of induction models.")
    parser.add_argument("--out", type=Path, default=Path("build/induction"))
    parser.add_argument("--seeds", type=int, nargs="*", default=list(range(5)))
    parser.add_argument("--dense", action="store_true", help="No head is pressed to be silent.")
    chosen = parser.parse_args()
    runs = []
    for seed in chosen.seeds:
        how, folder = Training(seed=seed), chosen.out / f"seed{seed}"
        how = replace(how, sparsity=0.0, fading=how.weight_decay) if chosen.dense else how
        if not (folder / "config.json").is_file():
            train(how).save_pretrained(folder)
        module = GPT2LMHeadModel.from_pretrained(folder).eval()
        runs.append(recover(module, how))
        last = runs[-1]
        log.info(
            "seed %d: right %.1f %%, %d heads in, AUC %.3f, faithfulness %.3f", seed,
            100 * last.accuracy, last.inside.sum(),
            area_under_curve(last.scores.ravel(), last.inside.ravel()), last.faithfulness,
        )  # fmt: skip
    found = report(runs)
    (chosen.out / "report.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    log.info("pooled AUC %.4f, least faithfulness %.3f", found["auc"], min(found["faithfulness"]))


if __name__ == "__main__":
    main()
