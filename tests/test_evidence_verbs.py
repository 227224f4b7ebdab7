"""The verbs that measure and compare circuits, as a user types it."""

import json
import shutil
from pathlib import Path

import circuitscope as cs
from circuitscope import cli
from circuitscope.core.shipped import shipped_path
from circuitscope.core.transfer import of_finding

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


def test_circuits_are_compared_run_crosswise_drawn_and_kept(capsys, tmp_path: Path) -> None:
    project = tmp_path / "capitals.circuitscope"
    shutil.copy(ATLAS / "capitals.circuitscope", project)
    figure, table = tmp_path / "diff.svg", tmp_path / "diff.md"
    asked = ("compare", str(project), "Dallas", "Oakland", "--model", str(ATLAS / "model"))
    more = ("--floor", "Dallas", "--out", str(figure), "--out", str(table), "--save", "--quiet")
    assert run(*asked, *more) == 0
    said = capsys.readouterr().out
    assert said.startswith("Dallas’s circuit keeps −")
    assert "Noise floor, Dallas against Dallas: 100 % of nodes" in said
    assert "Oakland’s own circuit" in figure.read_text()
    assert "| prompt | answer | Dallas | Oakland | shared | Dallas |" in table.read_text()
    with cs.open_project(project, read_only=True) as kept:
        _, info = [one for one in kept.findings() if one.method == "comparison"]
        chosen, names, found = of_finding(kept.read_finding(info.id))
    assert names == ("Dallas", "Oakland", "Dallas")
    assert chosen.floor == chosen.a
    assert found.kept.shape == (2, 4)
    assert run("compare", str(project), "Dallas", "Oakland", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["counts"]["nodes"]["both"] == len(told["nodes"]["both"])
    assert run("compare", str(project), "Dallas", "Tulsa") == 1
    assert "Its results are" in capsys.readouterr().err
    assert run("compare", str(project), "Dallas", "Oakland", "--out", "x.gexf") == 1
    assert "no place" in capsys.readouterr().err


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
