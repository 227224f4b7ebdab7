"""Labels by what raising a feature does: planted tokens are found, others score at chance."""

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from circuitscope.core.anatomy import Site
from circuitscope.core.dictionary import DictionaryCard
from circuitscope.core.progress import silent
from circuitscope.dictionaries.collecting import collect
from circuitscope.dictionaries.corpus import Corpus
from circuitscope.dictionaries.dictionary import Dictionary, DictionaryWeights
from circuitscope.dictionaries.steering import Steering, TokenLabeller, choose_contexts
from circuitscope.evidence import labelling
from circuitscope.evidence.file import EvidenceFile
from circuitscope.evidence.labels import label_features
from circuitscope.evidence.pages import DictionaryEvidence
from circuitscope.evidence.records import FeatureId, Label
from circuitscope.evidence.tally import Window
from circuitscope.evidence.token_labels import (
    CHANGE,
    OUTPUT,
    PROJECTION,
    named_tokens,
    rank_score,
    with_ensemble,
)
from circuitscope.models.loading import LoadedModel, load_model
from circuitscope.models.prompts import token_texts

N = 20


WIDTH, VOCABULARY = 64, 40


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """Return a random GPT-2 that is wide enough to raise single tokens; it has no tokenizer."""
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=VOCABULARY, n_positions=32, n_embd=WIDTH, n_layer=2, n_head=4, n_inner=64,
        bos_token_id=1, eos_token_id=1, tie_word_embeddings=False,
    )  # fmt: skip
    made = transformers.GPT2LMHeadModel(config)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    folder = tmp_path_factory.mktemp("wide")
    made.save_pretrained(folder)
    return load_model(folder, "cpu")


def planted(model: LoadedModel) -> list[set[int]]:
    """Return two tokens of each feature."""
    random = np.random.default_rng(3)
    tokens = np.arange(3, model.anatomy.d_vocab)
    return [set(random.choice(tokens, 2, replace=False).tolist()) for _ in range(N)]


@pytest.fixture(scope="module")
def dictionary(model: LoadedModel) -> Dictionary:
    """Return a dictionary of the last layer's output whose rows raise just the planted tokens."""
    W_U = model.module.lm_head.weight.detach()
    gain = model.module.transformer.ln_f.weight.detach()
    wanted = torch.zeros(N, len(W_U))
    for unit, tokens in enumerate(planted(model)):
        wanted[unit, list(tokens)] = 1.0
    through = (W_U - W_U.mean(0)) * gain
    through = through - through.mean(1, keepdim=True)
    rows = wanted @ torch.linalg.pinv(through).T
    generator = torch.Generator().manual_seed(0)
    card = DictionaryCard(
        "planted", "made up", "", "planted", Site.RESID_POST, Site.RESID_POST, (1,), WIDTH, WIDTH,
        N, activation="jumprelu",
    )  # fmt: skip
    return Dictionary(card, DictionaryWeights(
        torch.randn(WIDTH, N, generator=generator), torch.zeros(N),
        10 * rows / rows.norm(dim=1, keepdim=True), torch.zeros(WIDTH), torch.full((N,), 1.0),
    ))  # fmt: skip


@pytest.fixture(scope="module")
def folder(
    model: LoadedModel, dictionary: Dictionary, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    random = np.random.default_rng(0)
    texts = [
        [1, *random.integers(3, model.anatomy.d_vocab, random.integers(4, 12)).tolist()]
        for _ in range(300)
    ]  # fmt: skip
    place = tmp_path_factory.mktemp("steered")
    corpus = Corpus("made up", "made up", lambda first: iter([texts][first:]), 1, Window(8, 2))
    collect(model, [dictionary], corpus, place)
    label_features(place, labellers=[TokenLabeller(model, [dictionary])])
    return place


@pytest.mark.parametrize("method", [PROJECTION, CHANGE])
def test_planted_tokens_are_found_with_a_high_score(
    folder: Path, model: LoadedModel, method: str
) -> None:
    texts = token_texts(model, list(range(VOCABULARY)))
    right = 0
    with EvidenceFile(folder) as file:
        for unit, tokens in enumerate(planted(model)):
            found = [f for f in file.labels(FeatureId("planted", 1, unit)) if f.method == method]
            for label in found:
                assert (label.source, label.scored_by) == ("machine", OUTPUT)
                assert label.text.startswith("raises “")
            named = {f"“{texts[token].strip()}”" for token in tokens}
            right += any(
                set(label.text.removeprefix("raises ").split(", ")) == named
                and (label.score or 0) >= 0.9 for label in found
            )  # fmt: skip
    assert right >= 0.9 * N


def test_tokens_of_other_features_score_at_chance(
    folder: Path, model: LoadedModel, dictionary: Dictionary
) -> None:
    truth = planted(model)
    with EvidenceFile(folder) as file:
        evidence = DictionaryEvidence(file, "planted", 1)
        sample = labelling.silences(file)
        steering = Steering(model, choose_contexts(evidence, sample)[1::2])
        largest = torch.tensor(file.array("planted", 1, "maximum"))
    changes = np.stack(
        [steering.changes(at, dictionary, torch.arange(N), largest) for at in range(len(steering))]
    )
    own = [rank_score(changes[:, unit], sorted(truth[unit])) for unit in range(N)]
    shuffled = [
        rank_score(changes[:, unit], sorted(truth[other]))
        for unit in range(N) for other in range(N) if not truth[unit] & truth[other]
    ]  # fmt: skip
    assert min(own) >= 0.9
    assert np.mean(shuffled) == pytest.approx(0.5, abs=0.05)


def test_raising_a_feature_equals_an_edit_of_the_real_module(
    model: LoadedModel, dictionary: Dictionary
) -> None:
    text = [1, 4, 7, 9]
    rows = dictionary.decoder_rows(torch.tensor([5]))

    def edit(_module: object, _args: object, output: object) -> object:
        hidden = output[0] if isinstance(output, tuple) else output
        hidden = hidden.clone()
        hidden[:, -1] += 2.5 * rows
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    ids = torch.tensor([text])
    with torch.no_grad():
        plain = model.module(ids).logits[0, -1].log_softmax(-1)
        handle = model.module.transformer.h[1].register_forward_hook(edit)
        try:
            changed = model.module(ids).logits[0, -1].log_softmax(-1)
        finally:
            handle.remove()
    found = Steering(model, [text]).changes(0, dictionary, torch.tensor([5]), torch.tensor([2.5]))
    np.testing.assert_allclose(found[0], (changed - plain).numpy(), atol=1e-4)


def test_one_feature_is_labelled_alone_and_others_stay(
    folder: Path, model: LoadedModel, dictionary: Dictionary
) -> None:
    with EvidenceFile(folder) as file:
        before = file.all_labels()
    one = FeatureId("planted", 1, 4)
    label_features(folder, labellers=[TokenLabeller(model, [dictionary])], only=[one])
    with EvidenceFile(folder) as file:
        after = file.all_labels()
    assert after == before
    assert {label.method for label in after[one]} >= {PROJECTION, CHANGE}


def test_an_ensemble_says_when_and_what_with_both_scores() -> None:
    when = Label("“a”", "tokens and n-grams", score=0.8, scored_by="detection")
    what = Label("raises “b”", PROJECTION, score=0.9, scored_by=OUTPUT)
    weaker = Label("raises “c”", CHANGE, score=0.7, scored_by=OUTPUT)
    made = with_ensemble([when, what, weaker])
    assert made[:3] == [when, what, weaker]
    assert made[3].text == "“a” → raises “b”"
    assert made[3].score == pytest.approx(0.85)
    assert made[3].detail == {"detection": 0.8, "output": 0.9}
    assert with_ensemble(made) == made
    assert with_ensemble([when]) == [when]
    poor = Label("a rule", "board rule", score=0.3, scored_by="F1")
    assert with_ensemble([poor, what]) == [poor, what]


def test_only_tokens_that_rise_much_are_named() -> None:
    assert named_tokens([3, 1, 2], [2.0, 1.5, 0.5]) == (3, 1)
    assert named_tokens([3, 1], [-1.0, -2.0]) == ()
    assert named_tokens([], []) == ()


def test_cancelling_leaves_the_file_as_it_was(
    folder: Path, model: LoadedModel, dictionary: Dictionary
) -> None:
    from circuitscope.core.errors import Cancelled
    from circuitscope.core.progress import Progress

    class Stops(type(silent())):  # type: ignore[misc]
        def advance(self, steps: int = 1) -> None:
            raise Cancelled

    before = (folder / "evidence.sqlite").read_bytes()
    progress: Progress = Stops()
    with pytest.raises(Cancelled):
        label_features(folder, None, progress, labellers=[TokenLabeller(model, [dictionary])])
    assert (folder / "evidence.sqlite").read_bytes() == before
