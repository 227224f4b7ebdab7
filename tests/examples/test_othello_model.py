"""The bundled Othello-GPT plays by the rules, its traces add up, and one finding is seen anew."""

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from transformers import GPT2LMHeadModel

import circuitscope as cs
from circuitscope.core.shipped import shipped_path
from circuitscope.examples import othello, othello_boards, othello_project
from circuitscope.examples.dictionary_set import read_dictionary
from circuitscope.examples.othello_dictionaries import Sample, collect
from circuitscope.examples.othello_evidence import list_facts
from circuitscope.examples.othello_model import measure_legality

FOLDER = shipped_path("projects", "othello")
FRESH_SEED = 77_000_001


@pytest.fixture(scope="module")
def plain() -> GPT2LMHeadModel:
    return GPT2LMHeadModel.from_pretrained(FOLDER / "model").eval()


@pytest.fixture(scope="module")
def model():
    return cs.load_model(FOLDER / "model", device="cpu")


@pytest.fixture(scope="module")
def dictionaries():
    return cs.load_dictionaries(FOLDER / "dictionaries")


def test_its_likeliest_move_is_legal(plain: GPT2LMHeadModel) -> None:
    assert measure_legality(plain, 100, seed=FRESH_SEED) >= 0.98


@pytest.mark.parametrize("mlp", ["secant", "transcoder"])
def test_a_trace_of_a_move_adds_up(model, dictionaries, mlp: str) -> None:
    prompt = othello_project.choose_prompt()
    circuit = cs.trace(model, prompt, dictionaries=dictionaries, mlp=mlp, max_nodes=200)
    assert len(circuit.tokens) == othello_project.MOVES
    assert circuit.expanded.sum() > 100
    assert circuit.conservation.max() <= 1e-4


def test_a_feature_of_the_last_mlp_fires_where_its_square_is_legal(plain) -> None:
    """Claim 4 on games of another seed: its best-told legal-move feature keeps its F1."""
    boards = othello_boards.read(FOLDER / "boards.npz")
    last = f"mlp_out_{plain.config.n_layer - 1}"
    here = boards.names[boards.dictionary] == last
    told = np.array([rule.split()[1:] == ["legal"] for rule in boards.rule.tolist()])
    row = int(np.where(here & told, boards.rule_f1, -1).argmax())
    games, sample = Sample.played(FRESH_SEED, 60)
    facts = list_facts(games)
    legal = facts.true[:, facts.names.index(str(boards.rule[row]))]
    with torch.no_grad():
        rows = collect(plain, plain.config.n_layer - 1, sample)["mlp_out"]
    weights = read_dictionary(FOLDER / "dictionaries" / last)
    fires = weights.encode(rows)[:, boards.unit[row]] > 0
    score = 2 * (fires & legal).sum() / (fires.sum() + legal.sum())
    assert boards.rule_f1[row] >= 0.7
    assert abs(score - boards.rule_f1[row]) < 0.1


def test_the_ready_project_opens_without_a_model() -> None:
    with cs.open_project(FOLDER / "othello.circuitscope", read_only=True) as project:
        circuits = dict(project.circuits().items())
        heads = circuits.pop(f"{othello_project.NAMES[0]}, by heads")
        assert heads.nodes.of_kind(cs.NodeKind.HEAD).any()
        assert tuple(circuits) == othello_project.NAMES
        move, feature, score = circuits.values()
        kinds = [c.nodes.key(int(c.roots[0])).kind for c in circuits.values()]
        assert kinds == [cs.NodeKind.LOGIT, cs.NodeKind.FEATURE, cs.NodeKind.SCORE]
        square = othello.VOCABULARY[int(move.nodes.unit[move.roots[0]])]
        assert square in othello.name_squares(othello.read(move.prompt).legal[0, -1])
        for name, circuit in circuits.items():
            assert circuit.conservation.max() <= 1e-4
            assert project.drawing(name).of_kind("group")
            assert project.drawing(name).of_kind("run"), "each group is tested"
            assert circuit.provenance.model["name"] == "othello"
        assert feature.nodes.layer[feature.roots[0]] == 2
        assert score.prompt == move.prompt
        (measured,) = [info for info in project.findings() if info.method == "measurement"]
        assert project.read_finding(measured.id).provenance.parent == move.digest
    size = (FOLDER / "othello.circuitscope").stat().st_size
    assert size < 2_000_000
