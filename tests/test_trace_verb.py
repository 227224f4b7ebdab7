"""`circuitscope trace` with the options that the trace dialog has too."""

import json
from pathlib import Path

import pytest

from circuitscope.models.capture import capture
from circuitscope.models.loading import load_model
from circuitscope.models.prompts import read_prompt
from circuitscope.project.file import ProjectFile
from tests.sae_lens_writer import write_exact
from tests.test_cli import Shell

PROMPT = "Dallas is the capital of state containing"


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setenv("COLUMNS", "200")
    return Shell(capsys)


def test_targets_and_settings_reach_the_trace(
    shell: Shell, tiny_llama: Path, tmp_path: Path
) -> None:
    out = tmp_path / "one.circuitscope"
    code = shell(
        "trace", tiny_llama, PROMPT, "--target", "direction:Austin - Texas", "--target",
        "score:1.0:6<-2", "--seed", 7, "--logit-mass", 0.5, "--max-logits", 3, "--max-nodes", 30,
        "--out", out, "--json",
    )  # fmt: skip
    assert code == 0, shell.err
    with ProjectFile.open(out) as project:
        circuit = project.circuit(json.loads(shell.out)["circuit"])
    kept = circuit.provenance.settings
    assert [target["kind"] for target in kept["targets"]] == ["Direction", "AttentionScore"]
    assert (kept["seed"], kept["logit_mass"], kept["max_logits"]) == (7, 0.5, 3)


def test_the_doctor_says_where_to_read_and_the_trace_reads_there(
    shell: Shell, tiny_llama: Path, tmp_path: Path
) -> None:
    model = load_model(tiny_llama, device="cpu")
    cache = capture(model, read_prompt(model, PROMPT).token_ids)
    folder = write_exact(tmp_path / "one", cache, "normalized")
    asked = "--model", tiny_llama, "--dictionaries", folder, "--prompt", PROMPT
    assert shell("doctor", *asked) == 0
    assert "--read-at one=mlp_in" in shell.out
    assert shell("doctor", *asked, "--read-at", "one=mlp_in") == 0
    assert "explains 1.00" in shell.out
    out = tmp_path / "two.circuitscope"
    code = shell(
        "trace", tiny_llama, PROMPT, "--dictionaries", folder, "--read-at", "mlp_in", "--mlp",
        "transcoder", "--out", out, "--json",
    )  # fmt: skip
    assert code == 0, shell.err
    with ProjectFile.open(out) as project:
        circuit = project.circuit(json.loads(shell.out)["circuit"])
    assert circuit.provenance.dictionaries[0]["read_site"] == "mlp_in"


def test_a_value_that_is_no_choice_is_named(shell: Shell, tiny_llama: Path) -> None:
    assert shell("trace", tiny_llama, PROMPT, "--weights", "heavy") == 2
    assert "raw, centred, folded" in " ".join(shell.err.split())
