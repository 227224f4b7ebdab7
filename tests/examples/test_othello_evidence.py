"""Test that rules of features are found where they are known, and the report on a tiny model."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from transformers import GPT2LMHeadModel

from circuitscope.dictionaries.training import TrainingSettings
from circuitscope.examples import (
    othello,
    othello_boards,
    othello_dictionaries,
    othello_evidence,
    othello_report,
)
from circuitscope.examples.dictionary_set import dictionary_name
from circuitscope.examples.othello_model import ModelSettings, Run, new_model, write_model


@pytest.fixture(scope="module")
def games() -> othello.Games:
    return othello.play(11, 60)


@pytest.fixture(scope="module")
def facts(games: othello.Games) -> othello_evidence.Facts:
    return othello_evidence.list_facts(games)


def fact(facts: othello_evidence.Facts, name: str) -> np.ndarray:
    return facts.true[:, facts.names.index(name)].astype(np.float32)


def test_directions_are_those_of_the_turned_discs(games: othello.Games) -> None:
    read = othello.read("F5 D6 C3")
    directions = list(othello_evidence.DIRECTIONS)
    found = othello_evidence.turned(read)[0]
    # F5 turns E5 to its left; D6 turns D5 above it; C3 turns D4 below to the right.
    assert [[directions[i] for i in np.flatnonzero(row)] for row in found] == [
        ["left"], ["up"], ["down right"],
    ]  # fmt: skip
    every = othello_evidence.turned(games)
    assert (every.any(-1) == (games.flipped != 0)).all()


def test_facts_agree_with_the_rules(games: othello.Games, facts: othello_evidence.Facts) -> None:
    of_kind = {kind: facts.true[:, facts.kinds == kind] for kind in set(facts.kinds.tolist())}
    assert (of_kind["move"].sum(1) == 1).all()
    assert (of_kind["mine"].sum(1) + of_kind["theirs"].sum(1) + of_kind["empty"].sum(1) == 64).all()
    assert (of_kind["turn"].sum(1) >= 1).all()
    assert (of_kind["legal"].sum(1) >= 1).all()
    assert len(facts.names) == len(set(facts.names)) == facts.true.shape[1]


def test_planted_rules_are_found(facts: othello_evidence.Facts) -> None:
    random = np.random.default_rng(0)
    strength = random.uniform(1, 2, len(facts.true)).astype(np.float32)
    values = np.stack(
        [
            fact(facts, "C3 mine") * strength,
            fact(facts, "E3 mine") * fact(facts, "F6 theirs") * strength,
            # Weakly active anywhere, strongly where F5 is legal.
            np.where(fact(facts, "F5 legal") > 0, 10.0, 0.1) * strength,
            np.zeros(len(facts.true)),
        ],
        axis=1,
    ).astype(np.float32)
    meaning = othello_evidence.explain(values, facts)
    assert meaning.unit.tolist() == [0, 1, 2]
    rules = [meaning.rule(facts, row) for row in range(3)]
    assert rules[0] == "C3 mine"
    assert sorted(rules[1].split(" and ")) == ["E3 mine", "F6 theirs"]
    assert rules[2] == "F5 legal (strongly)"
    assert meaning.f1.min() > 0.99


def test_a_feature_that_fires_at_times_tells_of_its_fact(facts: othello_evidence.Facts) -> None:
    sometimes = np.random.default_rng(2).random(len(facts.true)) < 0.15
    values = (fact(facts, "E3 mine") * sometimes)[:, None].astype(np.float32)
    meaning = othello_evidence.explain(values, facts)
    assert facts.names[meaning.telling[0]] == "E3 mine"
    assert meaning.precision[0] == 1
    assert meaning.f1[0] < 0.5


def test_noise_has_no_good_rule(facts: othello_evidence.Facts) -> None:
    noise = np.random.default_rng(1).random((len(facts.true), 5)).astype(np.float32)
    noise[noise < 0.9] = 0
    assert othello_evidence.explain(noise, facts).f1.max() < 0.5


def test_the_report_is_written_for_a_tiny_model(tmp_path: Path) -> None:
    settings = ModelSettings(n_layers=3, d_model=16, n_heads=2)
    model = new_model(settings)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.mul_(4)
    curve = [{"games": n, "loss": 3.0, "legal": 0.5 + n / 1000} for n in (100, 200)]
    write_model(tmp_path / "model", model, Run(200, 3, 1.0, curve), settings)
    plan = othello_dictionaries.Plan(
        TrainingSettings(d_sae=48, k=6, steps=60, batch_size=128), games=30, fresh_games=10
    )
    othello_dictionaries.make(tmp_path, tmp_path / "build", plan)
    page = tmp_path / "othello-findings.md"
    findings = othello_report.make(tmp_path, page, tmp_path / "pictures", games=20, fresh_games=8)
    assert len(findings) == 8
    text = page.read_text("utf-8")
    assert all(f.claim in text and f.verdict in text for f in findings)
    assert " nan" not in text
    boards = othello_boards.read(tmp_path / "boards.npz")
    names = {dictionary_name(k, n) for k in othello_dictionaries.KINDS for n in range(3)}
    assert set(boards.names.tolist()) == names
    assert boards.boards[:, 0].max() > 0
    for name in ("shares", "boards", "curve"):
        assert (tmp_path / "pictures" / f"othello-{name}.svg").read_text().startswith("<")
    loaded = GPT2LMHeadModel.from_pretrained(tmp_path / "model")
    assert loaded.config.n_layer == 3
