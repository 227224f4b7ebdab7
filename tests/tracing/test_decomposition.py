"""Contextual decomposition against the public implementation's numbers, both modes, both dtypes."""

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

import circuitscope as cs
from circuitscope.core.anatomy import ModelAnatomy
from circuitscope.core.progress import silent
from circuitscope.models.loading import LoadedModel
from circuitscope.tracing.decomposition import PairWalk, choose_rules
from circuitscope.tracing.injection import Injector, Means, Silent
from circuitscope.tracing.naming_sources import read_sources
from circuitscope.tracing.relevance import Reading, RelevanceWalk
from circuitscope.tracing.splitting import every_position, open_decomposer

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "cdt"
PARTS = {"residual": "z", "query": "query", "key": "key", "value": "value"}
# The exact mode has no tolerance in its shares; the public code loses up to 4e-6 through its own.
LIMITS = {("exact", "f32"): 5e-5, ("exact", "f64"): 2e-5}
LIMITS |= {("reference", "f32"): 5e-5, ("reference", "f64"): 1e-10}
CASES = sorted(LIMITS)
TO_LOGITS = (
    "single_head_zero_to_logits", "single_head_mean_to_logits", "multi_source_mean_to_logits",
    "multi_source_zero_to_logits", "input_tokens_layer0z_zero_to_logits",
)  # fmt: skip


def loaded(name: str, width: str) -> LoadedModel:
    folder = GOLDEN / name
    kinds = {"gpt2_tiny_a": "GPT2LMHeadModel", "bert_tiny": "BertForSequenceClassification"}
    module = getattr(transformers, kinds[name]).from_pretrained(
        folder,
        attn_implementation="eager",
        dtype={"f32": torch.float32, "f64": torch.float64}[width],
    )
    config = module.config
    anatomy = ModelAnatomy(
        kinds[name], name, config.num_hidden_layers, config.hidden_size,
        config.num_attention_heads, config.num_attention_heads, 12, 96, config.vocab_size, 32,
        causal=name.startswith("gpt2"),
    )  # fmt: skip
    module.eval().requires_grad_(False)
    return LoadedModel(anatomy, module, None, None, torch.device("cpu"), module.dtype)


@pytest.fixture(scope="module")
def models() -> dict[tuple[str, str], LoadedModel]:
    names = ("gpt2_tiny_a", "bert_tiny")
    return {(name, width): loaded(name, width) for name in names for width in ("f32", "f64")}


def read(name: str, case: str, width: str):
    return np.load(GOLDEN / name / f"{case}.{width}.npz", allow_pickle=False)


def head_sets(rows: np.ndarray) -> list[list[cs.Head]]:
    sets: list[list[cs.Head]] = [[] for _ in range(int(rows[:, 0].max()) + 1)]
    for number, layer, position, head in rows.tolist():
        sets[number].append(cs.Head(layer, head, position))
    return sets


def agree(split, relevant, irrelevant, limit: float) -> None:
    assert np.abs(split.relevant - relevant).max() <= limit
    assert np.abs(split.irrelevant - irrelevant).max() <= limit


@pytest.mark.parametrize(("mode", "width"), CASES)
@pytest.mark.parametrize("case", TO_LOGITS)
def test_heads_to_logits(case, mode, width, models):
    z, model = read("gpt2_tiny_a", case, width), models["gpt2_tiny_a", width]
    ablation = str(z["ablation"])
    for prompt in range(z["rel_logits"].shape[1]):
        split = cs.decompose(
            model, z["input_ids"][prompt].tolist(), head_sets(z["source_nodes"]), ablation,
            z["mean_acts"] if ablation == "mean" else None, mode=mode,
        )  # fmt: skip
        agree(split, z["rel_logits"][:, prompt], z["irrel_logits"][:, prompt], LIMITS[mode, width])


@pytest.mark.parametrize(("mode", "width"), CASES)
@pytest.mark.parametrize("part", PARTS)
def test_heads_to_heads(part, mode, width, models):
    z = read("gpt2_tiny_a", f"heads_to_heads_{part}", width)
    targets = [
        cs.Head(layer, head, position, PARTS[part])
        for layer, position, head in z["target_nodes"].tolist()
    ]
    for prompt in range(2):
        split = cs.decompose(
            models["gpt2_tiny_a", width], z["input_ids"][prompt].tolist(),
            head_sets(z["source_nodes"]), "mean", z["mean_acts"], targets, mode=mode,
        )  # fmt: skip
        wanted = z["target_rel"][:, :, prompt], z["target_irrel"][:, :, prompt]
        size = max(1.0, np.abs(wanted).max())
        agree(split, *wanted, size * LIMITS[mode, width])


@pytest.mark.parametrize(("mode", "width"), CASES)
def test_embedding_spans(mode, width, models):
    z = read("gpt2_tiny_a", "embedding_spans_to_logits", width)
    spans = [[cs.Span(start, stop)] for start, stop in z["spans"].tolist()]
    split = cs.decompose(models["gpt2_tiny_a", width], z["input_ids"][0].tolist(), spans, mode=mode)
    agree(split, z["rel_logits"], z["irrel_logits"], LIMITS[mode, width])
    assert np.abs(split.irrelevant[3]).max() == 0


@pytest.mark.parametrize("width", ["f32", "f64"])
def test_sweep_ranks_like_the_reference(width, models):
    z, model = read("gpt2_tiny_a", "sweep_head_x_pos", width), models["gpt2_tiny_a", width]
    shape = z["rel_logit_diff"].shape
    places = list(np.ndindex(shape))
    sets = [[cs.Head(layer, head, position)] for layer, position, head in places]
    prompt = z["input_ids"][0].tolist()
    split = cs.decompose(
        model, prompt, sets, "mean", z["mean_acts"], positions=[-1],
        tokens=z["logit_diff_tokens"].tolist(),
    )  # fmt: skip
    ours = (split.relevant[:, 0, 0] - split.relevant[:, 0, 1]).reshape(shape)
    assert np.abs(ours - z["rel_logit_diff"]).max() <= LIMITS["exact", width]
    strong = np.abs(z["rel_logit_diff"]).ravel().argsort()[::-1][:40]
    assert (np.abs(ours).ravel().argsort()[::-1][:40] == strong).all()


@pytest.mark.parametrize(("mode", "width"), CASES)
@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("padding", ["padded", "unpadded"])
def test_spans_of_bert(level, padding, mode, width, models):
    z = read("bert_tiny", f"local_importance_{padding}_level{level}", width)
    ids = z["input_ids"][0][z["attention_mask"][0] == 1].tolist()
    sets = [[] for _ in range(len(z["rel_logits"]))]
    for number, position in z["spans"].tolist():
        if position < len(ids):
            sets[number].append(cs.Span(position, position + 1, level))
    kept = [number for number, one in enumerate(sets) if one]
    split = cs.decompose(models["bert_tiny", width], ids, [sets[k] for k in kept], mode=mode)
    agree(split, z["rel_logits"][kept], z["irrel_logits"][kept], LIMITS[mode, width])


@pytest.mark.parametrize(("mode", "width"), CASES)
@pytest.mark.parametrize("ablation", ["zero", "mean"])
def test_heads_of_bert(ablation, mode, width, models):
    z = read("bert_tiny", f"heads_headsemantics_{ablation}", width)
    means = z["mean_acts"].reshape(3, 10, 4, 12)
    model, ids = models["bert_tiny", width], z["input_ids"][0].tolist()
    sets = head_sets(z["source_nodes"])
    split = cs.decompose(model, ids, sets, ablation, means, mode=mode)
    agree(split, z["rel_logits"][:, 0], z["irrel_logits"][:, 0], LIMITS[mode, width])
    targets = [
        cs.Head(layer, head, position, "residual")
        for layer, position, head in z["target_nodes"].tolist()
    ]
    split = cs.decompose(model, ids, sets, ablation, means, targets, mode=mode)
    agree(split, z["target_rel"][:, :, 0], z["target_irrel"][:, :, 0], LIMITS[mode, width])


def test_without_its_tolerance_the_reference_is_the_exact_mode(models):
    """What separates the modes is the tolerance alone, in both kinds of model."""
    for name, means in (("gpt2_tiny_a", None), ("bert_tiny", None)):
        model = models[name, "f64"]
        n = 9
        ids = np.random.default_rng(1).integers(5, 90, n).tolist()
        one = open_decomposer(model, ids)
        sources = [[cs.Head(0, 1)], [cs.Head(1, 2, 4), cs.Mlp(0, 3)], [cs.Span(2, 5)], [cs.Mlp(2)]]
        sets = read_sources(one.totals, model, sources)
        rules = choose_rules(one.totals.blueprint, "relrel")
        keep = [PartKeeper(len(sets)) for _ in range(3)]
        PairWalk(one.totals, rules, 0.0).run(Injector(sets, one.totals), keep[0], keep[1])
        reading = Reading(every_position(one.totals.blueprint, n))
        RelevanceWalk(one.totals, rules, reading).run(sets, Means(), keep[2], silent())
        assert not torch.isnan(keep[2].found).any()
        known = ~torch.isnan(keep[0].found)
        assert known.float().mean() > 0.9 or means is None
        difference = (keep[0].found - keep[2].found)[known].abs()
        assert len(difference)
        assert difference.max() < 1e-12


class PartKeeper(Silent):
    def __init__(self, n_sets: int) -> None:
        self.rows: list = [None] * n_sets

    def logits(self, logits, at) -> None:
        for number, row in zip(at.numbers, logits, strict=True):
            self.rows[number] = row

    @property
    def found(self) -> torch.Tensor:
        return torch.stack(self.rows)
