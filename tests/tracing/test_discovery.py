"""Discovery finds the heads of a model wired by hand; words of a classifier are weighed."""

import numpy as np
import pytest
import torch
import transformers

import circuitscope as cs
from circuitscope.core.anatomy import ModelAnatomy
from circuitscope.core.circuit import Route
from circuitscope.core.errors import CircuitScopeError, TraceError
from circuitscope.core.shipped import shipped_path
from circuitscope.models.families.gpt2 import GPT2
from circuitscope.models.loading import LoadedModel


@pytest.fixture(scope="module")
def copier() -> LoadedModel:
    """Return a GPT-2 of 2 layers x 4 heads in which two heads in a row carry the answer.

    Head 0.1 copies entry 0 of the stream (token 3 sets it) to entry 1; head 1.2 copies entry 1 to
    entry 2, which the unembedding of token 5 reads. The other heads write small noise elsewhere.
    """
    config = transformers.GPT2Config(
        vocab_size=12, n_positions=16, n_embd=16, n_layer=2, n_head=4, n_inner=8,
        bos_token_id=0, eos_token_id=0, tie_word_embeddings=False,
        architectures=["GPT2LMHeadModel"],
    )  # fmt: skip
    config._attn_implementation = "eager"
    torch.manual_seed(0)
    module = transformers.GPT2LMHeadModel(config).eval().requires_grad_(False)
    for name, parameter in module.named_parameters():
        gain = ".ln_" in name and name.endswith("weight")
        parameter.copy_(torch.ones_like(parameter) if gain else 0.02 * torch.randn_like(parameter))
    body = module.transformer
    body.wte.weight[3, 0] = 3.0
    for layer, head, source, sink in ((0, 1, 0, 1), (1, 2, 1, 2)):
        attention = body.h[layer].attn
        attention.c_attn.weight[source, 2 * 16 + 4 * head] = 2.0
        attention.c_proj.weight[4 * head, sink] = 3.0
    module.lm_head.weight[5, 2] = 2.0
    return LoadedModel(
        GPT2().describe(config.to_dict()), module, None, GPT2(), torch.device("cpu"), torch.float32
    )


def prompts(n: int, seed: int) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(n):
        ids = rng.choice([1, 2, 4, 6, 7, 8, 9], 7).tolist()
        ids[int(rng.integers(1, 5))] = 3
        made.append(ids)
    return made


METRIC = cs.LogitDifference(5, 6)


def test_the_wired_heads_are_found(copier):
    means = cs.mean_activations(copier, [[1, 2, 4, 6, 7, 8, 9], [9, 8, 7, 6, 4, 2, 1]])
    circuit = cs.discover(
        copier, prompts(6, 0), METRIC, n_heads=2, per_step=1, normalise=False, means=means,
        evaluation=prompts(6, 1),
    )  # fmt: skip
    heads = {(key.layer, key.unit) for key in map(circuit.nodes.key, range(len(circuit.nodes) - 1))}
    assert heads == {(0, 1), (1, 2)}
    assert (circuit.edges.route == Route.RELEVANCE).all()
    scores = circuit.provenance.scores
    assert scores["faithfulness"] > 0.9
    assert scores["sum_of_parts"] != pytest.approx(scores["whole"])
    assert not circuit.expanded.any()
    assert cs.faithfulness(copier, circuit, prompts(6, 1), means=means) == pytest.approx(
        scores["faithfulness"]
    )
    shown = cs.prune(circuit, 0.1, 0.1)
    assert shown.node_mask.all()
    assert shown.edge_mask.all()


def test_a_head_that_is_dropped_and_chosen_again_has_its_edges_once():
    model = cs.load_model(shipped_path("projects", "othello", "model"), device="cpu")
    game = "E6 F6 F5 F4 G7 D7 D6 C6 C8 D8 C3 F7 G4 G3 F8 H8 C4"
    edges = cs.trace(model, game, method="contextual", targets="logit:D3").edges
    pairs = list(zip(edges.source.tolist(), edges.target.tolist(), strict=True))
    assert len(pairs) == len(set(pairs)) > 5


def test_influence_never_counts_relevances(copier):
    from circuitscope.graph.influence import influence

    circuit = cs.discover(copier, prompts(2, 0), METRIC, n_heads=3, ablation="zero")
    assert len(circuit.edges)
    assert not influence(circuit).any()


def test_heads_at_positions_and_mlps(copier):
    ids = [1, 2, 3, 4, 6, 7, 8]
    circuit = cs.discover(
        copier, [ids], METRIC, granularity="head-position", n_heads=2, ablation="zero",
        normalise=False,
    )  # fmt: skip
    keys = [circuit.nodes.key(index) for index in range(len(circuit.nodes) - 1)]
    assert (1, 6, 2) in {(key.layer, key.position, key.unit) for key in keys}
    withal = cs.discover(
        copier, [ids], METRIC, n_heads=10, per_step=10, mlps=True, ablation="zero", prune=False
    )
    assert {"HEAD", "NEURON"} <= {
        cs.NodeKind(int(kind)).name for kind in withal.nodes.kind
    }  # fmt: skip


@pytest.mark.parametrize(
    "metric",
    [
        cs.Logit(5),
        cs.ProbabilityDifference((5, 7), (6,)),
        cs.GreaterThan((4, 5, 6, 7), 1),
        cs.AnswerVersusOthers(5, (6, 7)),
        cs.Direction([0, 0, 1.0] + [0] * 13, "entry 2"),
    ],
)
def test_every_metric_measures(metric, copier):
    circuit = cs.discover(copier, prompts(2, 3), metric, n_heads=2, ablation="zero")
    assert np.isfinite(circuit.edges.weight).all()
    assert abs(circuit.provenance.scores["whole"]) > 0


def test_what_discovery_refuses(copier):
    uneven = [[1, 2, 3], [1, 2, 3, 4]]
    cases = {
        "one length": {"prompts": uneven, "metric": METRIC, "granularity": "head-position"},
        "list of prompts": {"prompts": [], "metric": METRIC},
        "2 prompts but 1": {"prompts": uneven, "metric": [METRIC]},
        "no token 99": {"prompts": uneven, "metric": cs.Logit(99)},
        "n_heads cannot": {"prompts": uneven, "metric": METRIC, "n_heads": 0},
        "no method": {"prompts": uneven, "metric": METRIC, "method": "eap"},
        "no labels": {},
    }
    for words, asked in cases.items():
        with pytest.raises(CircuitScopeError, match=words):
            cs.discover(copier, **asked) if asked else cs.importance(copier, [1, 2, 3])


@pytest.fixture(scope="module")
def classifier(tmp_path_factory) -> LoadedModel:
    """Return a random BERT with three labels, its tokenizer writing unknown words in pieces."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "not", "bad", "at", "all", "good", "un", "##good"]
    tokenizer = Tokenizer(
        models.WordPiece({word: k for k, word in enumerate(words)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]",
        sep_token="[SEP]",
    )  # fmt: skip
    fast.save_pretrained(folder)
    torch.manual_seed(2)
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=24, max_position_embeddings=32, num_labels=3,
        id2label={0: "bad", 1: "fair", 2: "good"}, label2id={"bad": 0, "fair": 1, "good": 2},
    )  # fmt: skip
    config._attn_implementation = "eager"
    module = transformers.BertForSequenceClassification(config).eval().requires_grad_(False)
    for parameter in module.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))
    anatomy = ModelAnatomy(
        "BertForSequenceClassification", "", 2, 16, 4, 4, 4, 24, len(words), 32, causal=False
    )
    return LoadedModel(anatomy, module, fast, None, torch.device("cpu"), torch.float32)


def test_words_are_whole_spans_and_phrases_interact(classifier):
    found = cs.importance(classifier, "not bad ungood", label="good", contrast="bad")
    words = [(word, span) for word, _, span in found.words]
    assert words == [("not", (1, 2)), ("bad", (2, 3)), ("ungood", (3, 5))]
    split = cs.decompose(classifier, "not bad ungood", [cs.Span(3, 5), cs.Span(1, 3)])
    difference = split.relevant[:, 2] - split.relevant[:, 0]
    assert found.words[2].score == pytest.approx(difference[0], rel=1e-5)
    phrase = found.phrase("not bad")
    assert phrase.score == pytest.approx(difference[1], rel=1e-5)
    pieces = found.words[0].score + found.words[1].score
    assert phrase.interaction == pytest.approx(phrase.score - pieces, abs=1e-6)
    assert abs(phrase.interaction) > 1e-4
    assert found.whole == pytest.approx(found.logits[2] - found.logits[0])


def test_the_contrast_is_the_runner_up(classifier):
    found = cs.importance(classifier, "good at all")
    order = np.argsort(found.logits)[::-1]
    assert (found.label, found.contrast) == tuple(found.labels[k] for k in order[:2])
    other = cs.importance(classifier, "good at all", label=found.contrast)
    assert other.contrast == found.label
    with pytest.raises(TraceError, match="the same"):
        cs.importance(classifier, "good", label=0, contrast=0)
    with pytest.raises(CircuitScopeError, match="Labels: bad, fair, good"):
        cs.importance(classifier, "good", label="great")


def test_heads_of_a_classifier_are_discovered(classifier):
    texts = ["not bad at all", "good at all"]
    circuit = cs.discover(classifier, texts, cs.LogitDifference("good", "bad"), n_heads=3)
    assert 1 <= len(circuit.nodes) - 1 <= 3
    assert circuit.labels[-1] == "good − bad"
