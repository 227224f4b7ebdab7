"""Circuits run on each other's prompts: what is carried over, and what is only alike."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

import circuitscope as cs
from circuitscope.core.finding import Grid, Provenance
from circuitscope.core.shipped import shipped_path
from circuitscope.core.transfer import Chosen, as_finding, of_finding
from circuitscope.tracing.transfer import carried, transfer

FOLDER = shipped_path("projects", "atlas")


@pytest.fixture(scope="module")
def atlas() -> Iterator[tuple]:
    with cs.open_project(FOLDER / "capitals.circuitscope", read_only=True) as project:
        circuits = project.circuits()
        yield (
            cs.load_model(FOLDER / "model"), circuits["Dallas"], circuits["Oakland"],
            cs.load_dictionaries(FOLDER / "dictionaries"),
        )  # fmt: skip


def test_each_circuit_keeps_its_own_answer_and_not_the_other(atlas: tuple) -> None:
    model, dallas, oakland, dictionaries = atlas
    found = cs.transfer(
        model, dallas, oakland, floor=dallas, names=("Dallas", "Oakland", "again"),
        node_threshold=0.95, dictionaries=dictionaries,
    )  # fmt: skip
    assert found.circuits == ("Dallas", "Oakland", "shared", "again")
    assert found.metrics == ("Austin − Sacramento", "Sacramento − Austin")
    assert np.diag(found.kept[:, :2]).min() > 0.8
    assert max(found.kept[0, 1], found.kept[1, 0], *found.kept[:, 2]) < 0.3
    assert found.kept[0, 3] == found.kept[0, 0]
    assert found.kept[1, 3] == found.kept[1, 0]


def test_all_nodes_keep_all_of_the_answer(atlas: tuple) -> None:
    model, dallas, oakland, dictionaries = atlas
    found = transfer(model, dallas, oakland, node_threshold=1.0, dictionaries=dictionaries)
    logits = model.run(dallas.prompt).logits[-1]
    ids = [model.find_token(word) for word in ("Austin", "Sacramento")]
    assert found.whole[0] == pytest.approx(float(logits[ids[0]] - logits[ids[1]]), abs=1e-4)
    # Of all active features, pruning by influence leaves out those without any.
    assert found.kept[0, 0] == pytest.approx(1.0, abs=0.05)


def test_what_one_has_alone_is_looked_up_in_the_other_run(atlas: tuple) -> None:
    model, dallas, oakland, dictionaries = atlas
    found = transfer(model, dallas, oakland, node_threshold=0.95, dictionaries=dictionaries)
    (key, value), *_ = found.elsewhere[0].items()
    layer, position, unit = (int(part) for part in key.split("/")[2:])
    x = model.run(oakland.prompt).site("mlp_in", layer)
    active = dictionaries[f"mlp_transcoder_{layer}"].encode(torch.as_tensor(x))
    here = (active.position == position) & (active.unit == unit)
    assert value == pytest.approx(float(active.value[here].sum()), abs=1e-5)
    pair = found.similar[0]
    one, other = (int(key.rpartition("/")[2]) for key in (pair.a, pair.b))
    rows = dictionaries[f"mlp_transcoder_{pair.a.split('/')[2]}"].decoder_rows(
        torch.tensor([one, other])
    )
    cosine = torch.nn.functional.cosine_similarity(rows[0], rows[1], dim=0)
    assert pair.cosine == pytest.approx(float(cosine), abs=1e-3)
    assert 0 <= pair.together <= pair.either


def test_nodes_are_carried_by_the_alignment(atlas: tuple) -> None:
    _, dallas, oakland, _ = atlas
    longer = replace(oakland, token_ids=(*oakland.token_ids[:1], 99, *oakland.token_ids[1:]),
                     tokens=("<bos>", "so", *oakland.tokens[1:]))  # fmt: skip
    moved, stays = carried(dallas, longer)
    before = dallas.nodes.position[stays]
    after = np.where(before > 0, before + 1, before)
    assert (moved.nodes.position == after).all()
    assert moved.token_ids == longer.token_ids


def test_a_comparison_is_kept_as_a_grid(atlas: tuple) -> None:
    model, dallas, oakland, dictionaries = atlas
    found = transfer(model, dallas, oakland, node_threshold=0.95, dictionaries=dictionaries)
    chosen = Chosen("1", "2", align="end")
    grid = as_finding(chosen, ("Dallas", "Oakland"), {"nodes": 0.5}, found, Provenance("x"))
    again = replace(grid, provenance=Provenance.from_json(grid.provenance.to_json()))
    read, names, transfer_read = of_finding(again)
    assert (read, names) == (chosen, ("Dallas", "Oakland"))
    assert transfer_read is not None
    assert transfer_read.similar == found.similar
    assert transfer_read.elsewhere == found.elsewhere
    np.testing.assert_allclose(transfer_read.kept, found.kept, rtol=1e-6)
    with pytest.raises(ValueError, match="comparison"):
        of_finding(Grid((), (), np.zeros(0, np.float32), Provenance("means")))


def test_what_cannot_be_run_is_said_and_the_rest_stands(atlas: tuple) -> None:
    model, dallas, oakland, dictionaries = atlas
    card = {**oakland.provenance.dictionaries[0], "digest": "other"}
    changed = (card, *oakland.provenance.dictionaries[1:])
    lost = replace(oakland, provenance=replace(oakland.provenance, dictionaries=changed))
    found = cs.transfer(model, dallas, lost, names=("Dallas", "Oakland"),
                        dictionaries=dictionaries)  # fmt: skip
    assert np.isfinite(found.kept[:, 0]).all()
    assert np.isnan(found.kept[:, 1]).all()
    assert any("Oakland on Dallas’s prompt" in remark for remark in found.remarks)
    assert found.similar == ()


def test_a_classifier_is_run_crosswise_and_a_feature_is_no_answer() -> None:
    folder = shipped_path("projects", "sentiment")
    with cs.open_project(folder / "sentiment.circuitscope", read_only=True) as project:
        a, b = list(project.circuits().values())[:2]
        found = cs.transfer(cs.load_model(folder / "model"), a, b)
    assert np.isfinite(found.kept).all()
    assert "negative" in found.metrics[0]
    folder = shipped_path("projects", "othello")
    with cs.open_project(folder / "othello.circuitscope", read_only=True) as project:
        move, feature = (project.circuits()[name] for name in ("Legal move", "Board feature"))
        dictionaries = cs.load_dictionaries(folder / "dictionaries")
        found = cs.transfer(cs.load_model(folder / "model"), move, feature,
                            names=("move", "feature"), dictionaries=dictionaries)  # fmt: skip
    assert np.isfinite(found.kept[0]).all()
    assert np.isnan(found.kept[1]).all()
    assert found.remarks == ("feature explains no word, so nothing is measured on its prompt.",)
