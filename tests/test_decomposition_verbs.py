"""The verbs of contextual decomposition, as a user types them."""

import json
from pathlib import Path

import circuitscope as cs
from circuitscope import cli
from circuitscope.core.shipped import shipped_path

SENTIMENT = shipped_path("projects", "sentiment", "model")
ATLAS = shipped_path("projects", "atlas")


def run(*arguments: str) -> int:
    return cli.run(list(arguments), lambda _: 0)


def test_words_are_weighed(capsys) -> None:
    assert run("words", str(SENTIMENT), "not good", "--label", "positive", "--json", "--quiet") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["label"], found["contrast"]) == ("positive", "negative")
    assert [phrase["text"] for phrase in found["phrases"]] == ["not", "good", "not good"]
    assert run("words", str(SENTIMENT), "not good", "--quiet") == 0
    assert "only together" in capsys.readouterr().out
    assert run("words", str(SENTIMENT), "not good", "--label", "great", "--quiet") == 1
    assert "Labels: negative, positive" in capsys.readouterr().err


def test_circuits_agree_by_heads(capsys, tmp_path: Path) -> None:
    project = str(ATLAS / "capitals.circuitscope")
    model = str(ATLAS / "model")
    assert run("agree", project, "--model", model, "--circuit", "Dallas", "--json", "--quiet") == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["heads"]) == 32
    assert -1 <= found["spearman"] <= 1
    assert set(found["only_contextual"]).isdisjoint(found["only_dictionary"])
    assert run("agree", project, "--model", model, "--with", "nothing", "--quiet") == 1
    assert "no result called" in capsys.readouterr().err


def test_heads_are_discovered_into_a_project(capsys, tmp_path: Path) -> None:
    cases = tmp_path / "cases.jsonl"
    states = {"Dallas": "Austin", "Oakland": "Sacramento"}
    lines = [
        {
            "prompt": f"the capital of the state containing {city} is",
            "answer": capital,
            "against": next(other for other in states.values() if other != capital),
        }
        for city, capital in states.items()
    ]
    cases.write_text("\n".join(map(json.dumps, lines)), "utf-8")
    out = tmp_path / "heads.circuitscope"
    asked = ("discover", str(ATLAS / "model"), str(cases), "--heads", "6", "--out", str(out))
    assert run(*asked, "--evaluate", str(cases), "--quiet") == 0
    said = capsys.readouterr().out
    assert "Faithfulness" in said
    assert "other prompts" in said
    with cs.open_project(out, read_only=True) as project:
        (info,) = project.findings()
        assert info.method == "contextual"
        found = project.circuit(info.id)
    assert 0 < len(found.nodes) - 1 <= 6 + 1
    assert found.provenance.settings["n_prompts"] == 2
    cases.write_text('{"prompt": "x"}', "utf-8")
    assert run(*asked, "--quiet") == 1
    assert "says no metric in line 1" in capsys.readouterr().err
