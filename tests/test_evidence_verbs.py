"""The verb that measures circuits, as a user types it."""

import json
from pathlib import Path

from circuitscope import cli
from circuitscope.core.shipped import shipped_path

ATLAS = shipped_path("projects", "atlas")
CLEAN = "the capital of the state containing Dallas is"
OTHER = "the capital of the state containing Oakland is"


def run(*arguments: str) -> int:
    return cli.run(list(arguments), lambda _: 0)


def test_edges_are_traced_and_measured(capsys, tmp_path: Path) -> None:
    model, out = str(ATLAS / "model"), str(tmp_path / "edges.circuitscope")
    asked = ("trace", model, CLEAN, "--method", "eap_ig", "--corrupted", OTHER, "--max-nodes", "5")
    assert run(*asked, "--target", "difference:Austin,Sacramento", "--out", out, "--quiet") == 0
    capsys.readouterr()
    report = tmp_path / "report.html"
    asked = ("measure", out, model, "--points", "3", "--report", str(report), "--save")
    assert run(*asked, "--json", "--quiet") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["edges"][-1] == found["scores"]["size"]
    assert report.read_text().startswith("<!DOCTYPE html>")
    assert run("measure", out, model, "--level", "path", "--quiet") == 1
    assert "no level" in capsys.readouterr().err
