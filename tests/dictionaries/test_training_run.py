"""Dictionaries trained here: planted truth, numbers recounted by hand, runs that were stopped."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from circuitscope.cli import app
from circuitscope.core.errors import Cancelled, CircuitScopeError, DictionaryError, ModelError
from circuitscope.core.progress import silent
from circuitscope.core.shipped import shipped_path
from circuitscope.dictionaries.format import load_dictionaries
from circuitscope.dictionaries.senses import SensePair, measure_senses, read_pairs, separation
from circuitscope.dictionaries.training import TrainingSettings, train_dictionary
from circuitscope.dictionaries.training_run import train_on_corpus
from circuitscope.models.capture import capture
from circuitscope.models.loading import LoadedModel, load_model

ATLAS = shipped_path("projects", "atlas") / "model"
QUICK = TrainingSettings(k=3, steps=60, batch_size=128)
RULES = ("batchtopk", "topk", "jumprelu")


@pytest.fixture(scope="module")
def model(tiny_gpt2: Path) -> LoadedModel:
    return load_model(tiny_gpt2, "cpu")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(0)
    ids = random.integers(2, 30, (240, 12))
    ids[np.arange(240), random.integers(4, 12, 240)] = -1
    path = tmp_path_factory.mktemp("corpus") / "ids.npy"
    # -1 stands behind the end only.
    np.save(path, np.where(np.cumsum(ids < 0, axis=1) > 0, -1, ids))
    return path


class Stop:
    """Cancel at the n-th step of a phase."""

    def __init__(self, phase: str, at: int) -> None:
        self.wanted, self.left, self.now = phase, at, ""

    def phase(self, name: str, total: int = 0) -> None:
        self.now = name

    def advance(self, steps: int = 1) -> None:
        if self.now == self.wanted:
            self.left -= 1
            if self.left < 0:
                raise Cancelled("stopped")

    def partial(self, result: object) -> None: ...
    def note(self, text: str) -> None: ...


def files(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


@pytest.mark.parametrize(
    "activation",
    ["jumprelu", *(pytest.param(rule, marks=pytest.mark.slow) for rule in ("batchtopk", "topk"))],
)
def test_planted_features_are_found(activation: str) -> None:
    random = np.random.default_rng(1)
    truth = random.standard_normal((24, 32)).astype("f4")
    truth /= np.linalg.norm(truth, axis=1, keepdims=True)
    active = (random.random((6000, 24)) < 2 / 24) * random.uniform(1, 2, (6000, 24))
    rows = (active @ truth).astype("f4")
    found = train_dictionary(
        rows, None,
        TrainingSettings(d_sae=32, k=2, steps=700, batch_size=256, activation=activation),  # type: ignore[arg-type]
    )  # fmt: skip
    alike = (truth @ found.W_dec.T).max(1)
    assert (alike > 0.95).mean() >= 0.9, np.sort(alike)
    features = found.encode(rows)
    assert np.isclose((features > 0).sum(1).mean(), 2, atol=0.5)
    left_out = np.square(rows - found.decode(features)).sum() / np.square(rows - rows.mean(0)).sum()
    assert left_out < 0.2
    if activation == "topk":
        assert (features > 0).sum(1).max() <= 2


@pytest.mark.parametrize("activation", RULES)
def test_what_is_measured_is_what_a_reader_of_the_files_counts(
    model: LoadedModel, corpus: Path, tmp_path: Path, activation: str
) -> None:
    settings = replace(QUICK, activation=activation)  # type: ignore[arg-type]
    done = train_on_corpus(
        model, corpus, tmp_path / "out", site="mlp_out", layer=1, d_sae=40, settings=settings
    )
    dictionary = load_dictionaries(tmp_path / "out")[0]
    assert dictionary.card.metrics["explained_variance"] == pytest.approx(
        done.quality.explained_variance, abs=1e-6
    )
    held_out = [row[row >= 0].tolist() for at, row in enumerate(np.load(corpus)) if at % 20 == 19]
    wrote, missed, counts = [], [], []
    for ids in held_out:
        out = capture(model, ids).site(dictionary.card.write_site, 1)
        found = dictionary.encode(out)
        wrote.append(out[1:])
        missed.append((out - dictionary.decode(found, len(out)))[1:])
        counts.append(float((found.position > 0).sum()))
    y, error = torch.cat(wrote), torch.cat(missed)
    variance = 1 - error.square().sum() / (y - y.mean(0)).square().sum()
    assert done.quality.explained_variance == pytest.approx(float(variance), abs=1e-4)
    assert done.quality.l0 == pytest.approx(sum(counts) / len(y), abs=1e-6)
    assert done.quality.n_tokens == len(y)
    assert done.quality.curve[-1] == (done.quality.l0, done.quality.explained_variance)
    kept = json.loads((tmp_path / "out" / "quality.json").read_text())
    assert kept["loss_spliced"] == done.quality.loss_spliced
    assert not (tmp_path / "out.partial").exists()


def test_a_transcoder_reads_one_site_and_writes_another(
    model: LoadedModel, corpus: Path, tmp_path: Path
) -> None:
    train_on_corpus(
        model, corpus, tmp_path / "t", site="mlp_out", reads="mlp_in", layer=0, d_sae=48,
        settings=QUICK,
    )  # fmt: skip
    card = load_dictionaries(tmp_path / "t")[0].card
    assert (card.read_site.text, card.write_site.text, card.n_features) == ("mlp_in", "mlp_out", 48)


@pytest.mark.parametrize(
    ("phase", "at"),
    [
        ("Gathering activations", 1),
        ("Training the dictionary", 25),
        ("Measuring the dictionary", 3),
    ],
)
def test_a_stopped_run_goes_on_to_the_same_bytes(
    model: LoadedModel, corpus: Path, tmp_path: Path, phase: str, at: int
) -> None:
    plain = {"site": "resid_post", "layer": 0, "d_sae": 40}
    train_on_corpus(model, corpus, tmp_path / "a", settings=QUICK, **plain)  # type: ignore[arg-type]
    with pytest.raises(Cancelled):
        train_on_corpus(
            model, corpus, tmp_path / "b", settings=QUICK, progress=Stop(phase, at), **plain  # type: ignore[arg-type]
        )  # fmt: skip
    assert not (tmp_path / "b").exists()
    train_on_corpus(model, corpus, tmp_path / "b", settings=QUICK, **plain)  # type: ignore[arg-type]
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_what_cannot_be_trained_is_said_before_anything_runs(
    model: LoadedModel, corpus: Path, tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    attempts = [
        (ModelError, {"out": "a", "site": "mlp_out", "layer": 9}, "no layer 9"),
        (ModelError, {"out": "a", "site": "pattern", "layer": 0}, "no site pattern"),
        (DictionaryError, {"out": "full", "site": "mlp_out", "layer": 0}, "not empty"),
        (CircuitScopeError, {"out": "a", "site": "mlp_out", "layer": 0, "d_sae": 2}, "cannot be"),
    ]
    for kind, asked, message in attempts:
        asked = {"settings": QUICK, **asked, "out": tmp_path / str(asked["out"])}
        with pytest.raises(kind, match=message):
            train_on_corpus(model, corpus, **asked)  # type: ignore[arg-type]
    with pytest.raises(DictionaryError, match="TopK transcoders"):
        train_on_corpus(
            model, corpus, tmp_path / "a", site="mlp_out", reads="mlp_in", layer=0,
            settings=replace(QUICK, activation="topk"),
        )  # fmt: skip
    with pytest.raises(CircuitScopeError, match="not trained by 'relu'"):
        TrainingSettings(activation="relu")  # type: ignore[arg-type]
    few = tmp_path / "few.npy"
    np.save(few, np.full((5, 6), 3))
    with pytest.raises(CircuitScopeError, match="fewer than 20"):
        train_on_corpus(model, few, tmp_path / "a", site="mlp_out", layer=0, settings=QUICK)
    assert (tmp_path / "full" / "mine.txt").read_text() == "keep"
    assert not (tmp_path / "a").exists()


def test_senses_are_judged_by_the_strongest_feature(tmp_path: Path) -> None:
    told = separation([(True, True), (True, False), (False, False), (False, True), (False, False)])
    assert (told.accuracy, told.recall, told.precision) == (0.6, 0.5, 0.5)
    assert told.specificity == pytest.approx(2 / 3)
    rows = [
        {"target_word": "Dallas", "context_1": "Dallas is in", "context_2": "Dallas is in",
         "label": 1, "pos": "N"},
        {"target_word": "Nowhere", "context_1": "Dallas", "context_2": "Dallas", "label": 0},
    ]  # fmt: skip
    (tmp_path / "pairs.json").write_text(json.dumps(rows))
    (tmp_path / "pairs.csv").write_text("word,first,second,same\nDallas,Dallas is,Dallas is,true\n")
    assert read_pairs(tmp_path / "pairs.csv") == (
        SensePair("Dallas", "Dallas is", "Dallas is", True),
    )
    atlas = load_model(ATLAS, "cpu")
    dictionary = load_dictionaries(ATLAS.parent / "dictionaries" / "mlp_out_0")[0]
    found = measure_senses(atlas, dictionary, read_pairs(tmp_path / "pairs.json"), silent())
    assert (found.n_pairs, found.n_left_out, found.accuracy) == (1, 1, 1.0)
    (tmp_path / "bad.csv").write_text("word,first\nx,y\n")
    with pytest.raises(CircuitScopeError, match="no second"):
        read_pairs(tmp_path / "bad.csv")


def verb(out: Path, texts: Path, steps: int) -> list[str]:
    return [
        "train-dictionary", "--model", str(ATLAS), "--corpus", str(texts), "--site", "mlp_out",
        "--layer", "1", "--out", str(out), "--features", "64", "--k", "8", "--steps", str(steps),
        "--batch", "64", "--device", "cpu", "--quiet",
    ]  # fmt: skip


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    cities = ("Dallas", "Oakland", "Houston", "Fresno")
    path.write_text("".join(f"{cities[n % 4]} is in Texas\n" for n in range(120)))
    return path


def test_the_verb_trains_and_reports(tmp_path: Path, texts: Path) -> None:
    done = CliRunner().invoke(app, verb(tmp_path / "d", texts, 40))
    assert done.exit_code == 0, done.output
    assert "of the variance with" in done.output
    assert "loss of the next token" in done.output
    assert load_dictionaries(tmp_path / "d")[0].card.activation == "jumprelu"
    again = CliRunner().invoke(app, verb(tmp_path / "d", texts, 40))
    assert again.exit_code != 0


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_killed_and_run_again_from_the_shell_gives_the_same_bytes(
    tmp_path: Path, texts: Path
) -> None:
    def command(name: str) -> list[str]:
        return [sys.executable, "-m", "circuitscope", *verb(tmp_path / name, texts, 4000)]

    subprocess.run(command("whole"), check=True, capture_output=True)
    process = subprocess.Popen(command("killed"), stdout=subprocess.DEVNULL)
    gathered = tmp_path / "killed.partial" / "gathered.json"
    for _ in range(600):
        if gathered.exists():
            break
        time.sleep(0.05)
    assert gathered.exists()
    assert process.poll() is None, "it ended before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed").exists()
    subprocess.run(command("killed"), check=True, capture_output=True)
    assert files(tmp_path / "whole") == files(tmp_path / "killed")
