"""The sentiment example: what its card says, its project, and its trainer on made-up sentences."""

import re
from pathlib import Path

import numpy as np
import pytest

import circuitscope as cs
from circuitscope.core.importance import from_ranking
from circuitscope.core.shipped import shipped_path
from circuitscope.examples import sentiment_training
from circuitscope.examples.sentiment import LABELS, NEGATIONS, SENTENCES

FOLDER = shipped_path("projects", "sentiment")
PROJECT = FOLDER / "sentiment.circuitscope"


def test_the_model_is_small_and_its_card_says_how_good_it_is() -> None:
    files = [path for path in (FOLDER / "model").iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 6_000_000
    card = (FOLDER / "model" / "README.md").read_text("utf-8")
    (share,) = re.findall(r"development, 872.*\| ([\d.]+)%", card)
    assert float(share) >= 77


def test_the_project_holds_ten_sentences_and_the_model_still_says_so() -> None:
    model = cs.load_model(FOLDER / "model", device="cpu")
    with cs.open_project(PROJECT, read_only=True) as project:
        kept = {
            info.prompt: from_ranking(project.read_finding(info.id))
            for info in project.findings()
            if info.kind == "ranking"
        }
        assert tuple(kept) == SENTENCES
        circuits = list(project.circuits().values())
    for found in kept.values():
        assert (found.label, found.contrast) == (LABELS[1], LABELS[0])
    for at in (1, 4):
        again = cs.importance(model, SENTENCES[at], LABELS[1], LABELS[0])
        held = kept[SENTENCES[at]]
        assert [p.text for p in again.phrases] == [p.text for p in held.phrases]
        assert [p.span for p in again.phrases] == [p.span for p in held.phrases]
        scores = [[p.score for p in one.phrases] for one in (again, held)]
        assert np.allclose(*scores, atol=1e-4)
        inner = [[p.interaction for p in one.phrases] for one in (again, held)]
        assert np.allclose(*inner, atol=1e-4)
        assert held.whole == pytest.approx(again.whole, abs=1e-4)
    for circuit in circuits:
        assert circuit.provenance.method == "contextual"
        assert circuit.provenance.scores["faithfulness"] > 0.5
        assert all(circuit.labels)
        assert not circuit.provenance.model.get("path")


def test_phrases_of_negations_are_not_the_sum_of_their_words() -> None:
    model = cs.load_model(FOLDER / "model", device="cpu")
    for at, phrase in NEGATIONS.items():
        found = cs.importance(model, SENTENCES[at], LABELS[1], LABELS[0]).phrase(phrase)
        assert abs(found.interaction) > 0.1


def test_the_trainer_learns_a_word_and_resumes(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    words = "the film plot actor scene story end it was".split()

    def lines(n: int) -> str:
        made = []
        for k in range(n):
            text = [*random.choice(words, 5), ("good", "bad")[k % 2]]
            random.shuffle(text)
            made.append(f"{' '.join(text)}\t{1 - k % 2}")
        return "\n".join(made) + "\n"

    (tmp_path / "train.tsv").write_text(lines(240), "utf-8")
    (tmp_path / "dev.tsv").write_text(lines(60), "utf-8")
    how = sentiment_training.Training(
        n_vocab=80, d_model=16, n_layers=1, n_heads=2, d_mlp=16, n_epochs=4, batch_size=8,
        rate=1e-2, dropout=0.0, masked=0.05, average=0.9, n_held=40,
    )  # fmt: skip
    out, kept = tmp_path / "model", tmp_path / "kept"
    assert sentiment_training.train(tmp_path, out, kept, how) > 0.9
    assert "looked at" not in (out / "README.md").read_text("utf-8")
    assert cs.load_model(out, device="cpu").run("a good film").logits.argmax() == 1
    again = sentiment_training.train(tmp_path, out, kept, how)
    assert again > 0.9
    with pytest.raises(cs.CircuitScopeError, match=r"no file train\.tsv"):
        sentiment_training.train(tmp_path / "none", out, kept, how)
