"""Test that Othello-GPT trains, goes on after a kill, and is written as an ordinary model."""

import json
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

import circuitscope as cs
from circuitscope.dictionaries.training import TrainingSettings
from circuitscope.examples import othello, othello_dictionaries, othello_training
from circuitscope.examples.othello_model import (
    ModelSettings,
    Run,
    build_tokenizer,
    measure_legality,
    new_model,
    write_model,
)
from circuitscope.examples.othello_training import Budget, OtherSettings, train

TINY = ModelSettings(
    n_layers=2,
    d_model=16,
    n_heads=2,
    warmup_games=8,
    batches=((0.0, 4), (0.5, 8)),
    curve_games=40,
)
BUDGET = Budget(games=90)


class Killed(Exception):  # noqa: N818 - named for what happened
    """Stand for the end of the process: nothing but the checkpoint is left."""


def _clock():
    ticks = count()
    return lambda: float(next(ticks))


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory):
    """Train the tiny model without a break."""
    path = tmp_path_factory.mktemp("whole") / "checkpoint.safetensors"
    return *train(TINY, BUDGET, path, clock=_clock()), path


def _kill_after(games: int):
    def report(run: Run) -> None:
        if run.games >= games:
            raise Killed

    return report


def test_a_killed_run_goes_on_to_the_same_numbers(whole, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    for games in (30, 70):
        with pytest.raises(Killed):
            train(TINY, BUDGET, path, report=_kill_after(games), save_seconds=7, clock=_clock())
    seen: list[int] = []
    model, run = train(TINY, BUDGET, path, report=lambda r: seen.append(r.games), clock=_clock())
    expected, expected_run, _ = whole
    # Games behind the checkpoint were lost and are made good; those before it are not repeated.
    assert 0 < seen[0] < 78
    assert run.games == expected_run.games == 90
    assert run.steps == expected_run.steps
    for part in ("games", "loss", "legal", "learning_rate"):
        assert [p[part] for p in run.curve] == [p[part] for p in expected_run.curve]
    for name, weight in expected.state_dict().items():
        assert torch.equal(weight, model.state_dict()[name]), name


def test_a_half_written_checkpoint_is_ignored(whole, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.partial").write_bytes(b"cut off")
    _, run = train(TINY, Budget(games=8), tmp_path / "checkpoint.safetensors")
    assert run.games == 8


def test_training_teaches_something_and_records_its_curve(whole) -> None:
    model, run, path = whole
    assert measure_legality(model, 30) > measure_legality(new_model(TINY), 30)
    assert [point["games"] for point in run.curve] == [40, 80]
    assert json.loads(path.with_name("curve.json").read_text()) == run.curve
    assert run.curve[0]["learning_rate"] > run.curve[1]["learning_rate"]


def test_a_finished_run_is_left_as_it_is(whole) -> None:
    model, run, path = whole
    before = path.read_bytes()
    again, same = train(TINY, BUDGET, path)
    assert same.games == run.games
    assert path.read_bytes() == before
    assert torch.equal(again.lm_head.weight, model.lm_head.weight)


def test_a_checkpoint_of_other_settings_is_refused(whole) -> None:
    with pytest.raises(OtherSettings, match="other settings"):
        train(replace(TINY, seed=1), BUDGET, whole[2])


def test_a_budget_in_seconds_ends_the_run(tmp_path: Path) -> None:
    budget = Budget(seconds=6)
    _, run = train(TINY, budget, tmp_path / "checkpoint.safetensors", clock=_clock())
    assert 6 <= run.seconds < 9
    assert Budget(games=0).share(0, 0.0) == 1


def test_drawn_moves_can_be_the_target(tmp_path: Path) -> None:
    settings = replace(TINY, targets="drawn")
    _, run = train(settings, Budget(games=8), tmp_path / "checkpoint.safetensors")
    assert run.steps > 0


def test_tokenizer_adds_nothing_and_ignores_case() -> None:
    tokenizer = build_tokenizer()
    assert len(tokenizer) == 61
    ids = tokenizer("f5 D6 C3 d3 h8")["input_ids"]
    assert ids == othello.parse("F5 D6 C3 D3 H8").tolist()
    assert tokenizer.convert_ids_to_tokens(ids) == ["F5", "D6", "C3", "D3", "H8"]


def test_the_written_folder_is_an_ordinary_model(whole, tmp_path: Path) -> None:
    trained, run, _ = whole
    folder = tmp_path / "model"
    legal = write_model(folder, trained, run, TINY)
    model = cs.load_model(folder)
    assert model.anatomy.activation == "gelu_new"
    assert (model.anatomy.d_vocab, model.anatomy.n_ctx) == (61, 60)
    card = (folder / "README.md").read_text()
    assert f"{legal:.2%}" in card
    assert "90 games" in card
    assert "| 80 |" in card
    ids = torch.tensor([othello.parse("F5 D6 C3").tolist()])
    with torch.no_grad():
        # The model was trained with another implementation of the same activation.
        assert torch.allclose(
            model.module(input_ids=ids).logits, trained(input_ids=ids).logits, atol=1e-5
        )


def test_the_api_refuses_unknown_squares_but_not_illegal_moves(whole, tmp_path: Path) -> None:
    trained, run, _ = whole
    write_model(tmp_path, trained, run, TINY)
    model = cs.load_model(tmp_path)
    assert cs.trace(model, "f5 A1", dictionaries=[], targets=["logit:D6"]).tokens == ("F5", "A1")
    for unknown in ("Z9", "E4"):
        with pytest.raises(cs.CircuitScopeError, match="does not know"):
            cs.trace(model, f"F5 {unknown}", dictionaries=[], targets=["logit:D6"])


def test_dictionaries_are_trained_for_every_layer(whole, tmp_path: Path) -> None:
    trained, run, _ = whole
    write_model(tmp_path / "out" / "model", trained, run, TINY)
    plan = othello_dictionaries.Plan(
        TrainingSettings(d_sae=32, k=4, steps=40, batch_size=64), games=20, fresh_games=10
    )
    othello_dictionaries.make(tmp_path / "out", tmp_path / "build", plan)
    folder = tmp_path / "out" / "dictionaries"
    names = {path.name for path in folder.iterdir() if path.is_dir()}
    assert names == {f"{kind}_{layer}" for kind in othello_dictionaries.KINDS for layer in range(2)}
    for name in names:
        config = json.loads((folder / name / "cfg.json").read_text())
        metrics = config["metadata"]["metrics"]
        assert metrics["explained_variance"] <= 1
        assert 0 <= metrics["dead_share"] < 1
        assert 1 < metrics["l0"] < 12
        assert np.isfinite(list(metrics.values())).all()
    assert len(cs.load_dictionaries(folder)) == 6
    assert (folder / "README.md").read_text().count("| mlp_transcoder_") == 2


def test_the_command_line_makes_the_model(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(othello_training, "ModelSettings", lambda **rest: replace(TINY, **rest))
    out, build = tmp_path / "out", tmp_path / "build"
    common = ["--out", str(out), "--build", str(build), "--threads", "1"]
    othello_training.main([*common, "--games", "8"])
    assert (out / "model" / "tokenizer.json").is_file()
    othello_training.main([*common, "--write"])
    assert "8 games" in (out / "model" / "README.md").read_text()
