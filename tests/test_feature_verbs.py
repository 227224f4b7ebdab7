"""The verbs about features, as a user types them."""

import json
from pathlib import Path

from typer.testing import CliRunner

from circuitscope.cli import app
from circuitscope.core.shipped import shipped_path

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
