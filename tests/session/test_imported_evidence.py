"""What others published about features, in each of their containers; files cut off and bombs."""

import gzip
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from circuitscope.cli import app
from circuitscope.core.anatomy import Site
from circuitscope.core.dictionary import DictionaryCard
from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.shipped import shipped_path
from circuitscope.evidence.file import EvidenceFile, find
from circuitscope.evidence.pages import DictionaryEvidence
from circuitscope.evidence.records import FeatureId
from circuitscope.session.imported_evidence import import_evidence


def card(layer: int) -> DictionaryCard:
    return DictionaryCard(
        f"t{layer}", "made up", "", f"d{layer}", Site.MLP_IN, Site.MLP_OUT, (layer,), 8, 8, 40
    )


CARDS = [card(0), card(1), card(2)]


def traced(unit: int, loud: float = 4.0) -> dict[str, Any]:
    """Return a feature as circuit-tracer writes it."""
    return {
        "index": unit,
        "top_logits": [" Austin", " Texas"], "bottom_logits": [" the"],
        "act_min": 0.0, "act_max": loud, "activation_frequency": 0.02,
        "examples_quantiles": [
            {"quantile_name": "Top activations", "examples": [
                {"tokens": ["in", " Dallas"], "tokens_acts_list": [0.0, 3.0], "train_token_ind": 1},
                {"tokens": ["of", " Texas"], "tokens_acts_list": [1.0, loud], "train_token_ind": 1},
            ]},
            {"quantile_name": "Subsample interval 2", "examples": [
                {"tokens": ["a", "b"], "tokens_acts_list": [0.5, 0.0], "train_token_ind": 0},
            ]},
        ],
    }  # fmt: skip


def check_traced(folder: Path, layer: int, unit: int) -> None:
    with EvidenceFile(folder) as file:
        page = DictionaryEvidence(file, f"d{layer}", layer).feature(unit)
    assert page.feature == FeatureId(f"d{layer}", layer, unit)
    assert [e.activation for e in page.examples] == [4.0, 3.0, 0.5]
    assert page.examples[0].tokens == ("of", " Texas")
    assert page.examples[2].band == "Subsample interval 2"
    assert [word.text for word in page.promoted] == [" Austin", " Texas"]
    assert (page.frequency, page.maximum) == (0.02, 4.0)
    assert not page.is_dead


def cantor(layer: int, unit: int) -> int:
    return (layer + unit) * (layer + unit + 1) // 2 + unit


def test_files_named_by_layer_and_feature_in_one_number(tmp_path: Path) -> None:
    source = tmp_path / "features"
    source.mkdir()
    for layer, unit in ((1, 7), (2, 0), (0, 3)):
        (source / f"{cantor(layer, unit)}.json").write_text(json.dumps(traced(unit)))
    found = import_evidence(source, CARDS, tmp_path)
    assert (found.n_features, found.n_labels, found.n_left_out) == (3, 0, 0)
    check_traced(tmp_path, 1, 7)
    check_traced(tmp_path, 2, 0)
    check_traced(tmp_path, 0, 3)


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
def test_indexed_files_of_layers(tmp_path: Path, pack: Any) -> None:
    source = tmp_path / "features"
    source.mkdir()
    data = b""
    offsets = []
    for unit in range(3):
        offsets.append(len(data))
        if unit != 1:
            packed = pack(json.dumps(traced(unit)).encode())
            data += struct.pack("<I", len(packed)) + packed
    (source / "layer_2.bin").write_bytes(data)
    index = {"2": {"filename": "layer_2.bin", "offsets": [*offsets, len(data)]}}
    (source / "index.json.gz").write_bytes(gzip.compress(json.dumps(index).encode()))
    assert import_evidence(source, CARDS, tmp_path).n_features == 2
    check_traced(tmp_path, 2, 0)
    check_traced(tmp_path, 2, 2)
    with EvidenceFile(tmp_path) as file:
        assert DictionaryEvidence(file, "d2", 2).alive().tolist() == [0, 2]


def bulk(folder: Path) -> Path:
    features = [
        {"modelId": "m", "layer": "1-t-x", "index": str(unit), "frac_nonzero": 0.5 / (unit + 1),
         "maxActApprox": 9.0, "pos_str": ["up"], "pos_values": [1.5], "neg_str": ["down"],
         "neg_values": [-2.0], "freq_hist_data_bar_heights": [3, 1],
         "freq_hist_data_bar_values": [1.0, 2.0]}
        for unit in range(4)
    ]  # fmt: skip
    activations = [
        {"layer": "1-t-x", "index": str(unit), "tokens": ["x", "y"], "values": [0.0, float(n)],
         "maxValue": float(n), "maxValueTokenIndex": 1}
        for n in range(1, 200) for unit in (3, 0)
    ]  # fmt: skip
    explanations = [
        {"layer": "1-t-x", "index": "3", "description": "says up", "explanationModelName": "gpt"},
        {"layer": "1-t-x", "index": "99", "description": "no such feature"},
    ]
    for part, rows in (
        ("features", features), ("activations", activations), ("explanations", explanations),
    ):  # fmt: skip
        (folder / part).mkdir(parents=True)
        for number in range(2):
            lines = "".join(json.dumps(row) + "\n" for row in rows[number::2])
            (folder / part / f"batch-{number}.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    return folder


def test_a_bulk_export_is_joined_by_feature(tmp_path: Path) -> None:
    found = import_evidence(bulk(tmp_path / "1-t-x"), CARDS, tmp_path)
    assert (found.n_features, found.n_labels, found.n_left_out) == (4, 1, 1)
    with EvidenceFile(tmp_path) as file:
        pages = DictionaryEvidence(file, "d1", 1)
        page = pages.feature(3)
        assert pages.feature(1).examples == ()
    assert [e.activation for e in page.examples] == [float(n) for n in range(199, 175, -1)]
    assert page.label is not None
    assert (page.label.text, page.label.source, page.label.method) == (
        "says up", "imported", "Neuronpedia gpt",
    )  # fmt: skip
    assert page.histogram.edges == (0.5, 1.5, 2.5)
    assert page.histogram.counts == (3, 1)
    assert page.suppressed[0].weight == -2.0


@pytest.mark.slow
def test_what_was_collected_stays_and_gets_the_labels(tmp_path: Path) -> None:
    bundled = shipped_path("projects", "atlas") / "dictionaries" / "evidence.sqlite"
    copy = tmp_path / "evidence.sqlite"
    copy.write_bytes(bundled.read_bytes())
    with EvidenceFile(copy) as file:
        (digest, layer), told = next(iter(file.cards.items()))
        before = DictionaryEvidence(file, digest, layer).feature(5)
        labels = file.labels(FeatureId(digest, layer, 5))
    mine = DictionaryCard.from_json(told)
    source = tmp_path / "5.json"
    feature = {"index": 5, "explanations": [{"description": "imported words"}], "pos_str": ["zz"]}
    source.write_text(json.dumps(feature))
    import_evidence(source, [mine], copy)
    with EvidenceFile(copy) as file:
        after = DictionaryEvidence(file, digest, layer).feature(5)
    assert after.examples == before.examples
    assert after.promoted == before.promoted
    assert {label.text for label in after.labels} == {"imported words", *(x.text for x in labels)}
    assert find(tmp_path, digest, layer) is not None


def test_what_is_damaged_hostile_or_foreign_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    source = tmp_path / "features"
    source.mkdir()
    (source / "layer_0.bin").write_bytes(struct.pack("<I", 90) + b"\x1f\x8b cut off")
    index = {"0": {"filename": "../../layer_0.bin", "offsets": [0, 13]}}
    (source / "index.json").write_text(json.dumps(index))
    with pytest.raises(CircuitScopeError, match="cannot be read to its end"):
        import_evidence(source, CARDS, tmp_path)
    bomb = gzip.compress(b"[" + b" " * (2**26 + 10) + b"]")
    (source / "layer_0.bin").write_bytes(struct.pack("<I", len(bomb)) + bomb)
    with pytest.raises(CircuitScopeError, match="too large"):
        import_evidence(source, CARDS, tmp_path)
    nested = tmp_path / "deep.json"
    nested.write_text("[" * 100_000)
    with pytest.raises(CircuitScopeError, match="cannot be read to its end"):
        import_evidence(nested, CARDS, tmp_path)
    for name, text in (("list.json", "[1, 2]"), ("other.json", '{"index": 400, "layer": "0-x"}')):
        (tmp_path / name).write_text(text)
        with pytest.raises(CircuitScopeError, match="Nothing in"):
            import_evidence(tmp_path / name, CARDS, tmp_path)
    with pytest.raises(CircuitScopeError, match="holds no features"):
        import_evidence(tmp_path / "missing", CARDS, tmp_path)
    with pytest.raises(CircuitScopeError, match="both have features in layer 1"):
        import_evidence(nested, [card(1), card(1)], tmp_path)
    assert not (tmp_path / "evidence.sqlite").exists()


def test_odd_values_are_left_out(tmp_path: Path) -> None:
    odd = {
        "index": "3", "layer": "1-x", "frac_nonzero": float("nan"), "pos_str": "text",
        "examples_quantiles": [7, {"examples": 3}],
        "activations": [{"tokens": ["a"], "values": [1, 2]}, 5, {"tokens": ["a"], "values": ["z"]}],
        "explanations": [{"description": ""}, "words", {"description": 7}],
        "freq_hist_data_bar_heights": [1, None], "freq_hist_data_bar_values": [1, 2],
    }  # fmt: skip
    (tmp_path / "odd.json").write_text(json.dumps([odd]))
    assert import_evidence(tmp_path / "odd.json", CARDS, tmp_path).n_labels == 0
    with EvidenceFile(tmp_path) as file:
        page = DictionaryEvidence(file, "d1", 1).feature(3)
    assert [e.activations for e in page.examples] == [(0.0,)]
    assert (page.frequency, page.histogram.counts, page.labels) == (0.0, (), ())


def test_the_verb_imports_beside_a_dictionary(tmp_path: Path) -> None:
    dictionary = shipped_path("projects", "atlas") / "dictionaries" / "mlp_out_0"
    source = tmp_path / "one.json"
    source.write_text(json.dumps({"index": 2, "explanations": [{"description": "a label"}]}))
    arguments = ["import-evidence", str(source), str(dictionary), "--out", str(tmp_path)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "1 features, 1 labels" in done.output
    shown = CliRunner().invoke(app, ["feature", str(tmp_path), "mlp_out_0", "2"])
    assert "a label" in shown.output
