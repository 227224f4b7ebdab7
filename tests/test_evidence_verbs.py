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


def test_the_mib_protocol_writes_a_table_and_json(capsys, tmp_path: Path) -> None:
    rows = [
        {"clean": CLEAN, "corrupted": OTHER, "answer": "Austin", "against": "Sacramento"},
        {"clean": OTHER, "corrupted": CLEAN, "answer": "Sacramento", "against": "Austin"},
    ]
    train, test = tmp_path / "train.jsonl", tmp_path / "test.jsonl"
    train.write_text("\n".join(map(json.dumps, rows)))
    test.write_text("\n".join(map(json.dumps, rows[::-1])))
    asked = ("bench-mib", str(ATLAS / "model"), str(train), "--test", str(test), "--most", "1")
    methods = ("--method", "eap", "--method", "random")
    assert run(*asked, *methods, "--out", str(tmp_path / "capitals"), "--quiet") == 0
    said = capsys.readouterr().out
    assert "| eap |" in said
    assert "1519 edges; scored on 1 pairs, measured on 1." in said
    assert (tmp_path / "capitals.md").read_text().strip() == said.strip()
    kept = json.loads((tmp_path / "capitals.json").read_text())
    assert [one["method"] for one in kept["methods"]] == ["eap", "random"]
    assert len(kept["proportions"]) == len(kept["methods"][0]["by_score"]) == 10
    assert run(*asked, "--method", "acdc", "--quiet") == 1
    assert "no method" in capsys.readouterr().err
    assert run("bench-mib", str(ATLAS / "model"), str(tmp_path / "none.jsonl")) == 1


def test_looks_are_multiplied(capsys) -> None:
    asked = ("attend", str(ATLAS / "model"), CLEAN, "difference:Austin,Sacramento", "7")
    assert run(*asked, "--json", "--quiet") == 0
    found = json.loads(capsys.readouterr().out)
    lowest = min((value, layer, head) for layer, row in enumerate(found["values"])
                 for head, value in enumerate(row))  # fmt: skip
    assert lowest[0] < -1
    assert lowest[1] == 2
    assert run(*asked, "--query", "all", "--factor", "2", "--quiet") == 0
    assert len(capsys.readouterr().out.splitlines()) == 5
    assert run(*asked, "--query", "some", "--quiet") == 2
