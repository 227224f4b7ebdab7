"""The verbs about features, as a user types them."""

import json
from pathlib import Path

from typer.testing import CliRunner

from circuitscope.cli import app
from circuitscope.core.shipped import shipped_path
from circuitscope.evidence.file import EvidenceFile
from circuitscope.evidence.token_labels import CHANGE, PROJECTION
from tests.evidence.planted import write_planted

ATLAS = shipped_path("projects", "atlas")


def test_collect_writes_evidence_that_feature_shows(tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("Dallas is in Texas\nthe capital of Texas is Austin\n" * 20)
    arguments = [
        "collect", "--model", str(ATLAS / "model"), "--dictionary",
        str(ATLAS / "dictionaries" / "mlp_out_0"), "--corpus", str(texts), "--out", str(tmp_path),
        "--device", "cpu", "--quiet", "--json",
    ]  # fmt: skip
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert found["n_tokens"] == 20 * 10
    assert Path(found["path"]) == tmp_path / "evidence.sqlite"
    shown = CliRunner().invoke(app, ["feature", str(tmp_path), "mlp_out_0", "0"])
    assert shown.exit_code == 0, shown.output
    assert "of 200 tokens" in shown.output


def test_feature_shows_the_bundled_evidence() -> None:
    shown = CliRunner().invoke(app, ["feature", str(ATLAS / "dictionaries"), "mlp_out_2", "57"])
    assert shown.exit_code == 0, shown.output
    assert "atlas" not in shown.output
    assert "promotes:" in shown.output


def test_label_says_what_features_do_where_it_may_run_the_model(tmp_path: Path) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text(
        "".join(
            json.dumps({"text": f"{city} is in {state}"}) + "\n"
            for _ in range(30) for city, state in (("Dallas", "Texas"), ("Oakland", "California"))
        )
    )  # fmt: skip
    dictionary = str(ATLAS / "dictionaries" / "mlp_out_3")
    run = CliRunner().invoke
    common = ["--model", str(ATLAS / "model"), "--dictionary", dictionary, "--device", "cpu"]
    done = run(app, ["collect", *common, "--corpus", str(texts), "--out", str(tmp_path), "--quiet"])
    assert done.exit_code == 0, done.output
    done = run(app, ["label", str(tmp_path), *common, "--json", "--quiet"])
    assert done.exit_code == 0, done.output
    scores = json.loads(done.output)["mlp_out_3"]
    assert len(scores) >= 5
    assert max(scores) > 0.9
    with EvidenceFile(tmp_path) as file:
        labels = [label for found in file.all_labels().values() for label in found]
    assert {PROJECTION, CHANGE} <= {label.method for label in labels}
    assert all(label.score is not None and label.scored_by for label in labels)
    before = (tmp_path / "evidence.sqlite").read_bytes()
    run(app, ["label", str(tmp_path), *common, "--quiet"])
    assert (tmp_path / "evidence.sqlite").read_bytes() == before


def test_explain_asks_a_language_model_in_a_folder(tmp_path: Path, tiny_gpt2: Path) -> None:
    path = write_planted(tmp_path / "evidence.sqlite")
    run = CliRunner().invoke
    done = run(
        app, ["explain", str(path), "planted", "1", "2", "--local", str(tiny_gpt2), "--json"]
    )
    assert done.exit_code == 0, done.output
    found = json.loads(done.output[done.output.index("{") :])
    assert set(found) == {"1", "2"}
    for labels in found.values():
        assert labels[0]["method"] == f"explanation by {tiny_gpt2.name}"
        assert 0 <= labels[0]["score"] <= 1
    assert run(app, ["explain", str(path), "planted", "1"]).exit_code == 2
