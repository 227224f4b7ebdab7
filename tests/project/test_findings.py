import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import DamagedProject
from circuitscope.project.arrays import pack
from circuitscope.project.check import check_project
from circuitscope.project.file import ProjectFile
from circuitscope.project.texts import text_digest

Tamper = Callable[..., None]


def replace_array(project: ProjectFile, name: str, array: np.ndarray) -> None:
    """Put another array in place of one, with a right digest, as a hostile file would."""
    blob = pack(name, array)
    with project._copy.transaction() as connection:
        connection.execute(
            "UPDATE array SET dtype = ?, shape = ?, codec = ?, digest = ?, data = ? WHERE name = ?",
            [blob.dtype, blob.shape, blob.codec, blob.digest, blob.data, name],
        )
    project._circuits.clear()


HOSTILE = {
    "nodes/kind": np.full(9, 200, np.uint8),
    "nodes/site": np.full(9, 99, np.uint8),
    "edges/route": np.full(10, 77, np.uint8),
    "edges/source": np.full(10, 9, np.int32),
    "edges/target": np.full(10, -1, np.int32),
    "edges/weight": np.zeros(9, np.float32),
    "roots": np.array([0, 1, 2], np.int32),
    "root_weights": np.zeros((2, 1), np.float32),
    "preactivation": np.zeros(8, np.float32),
    "expanded": np.zeros(9, np.uint8),
    "nodes/unit": np.zeros(9, np.int32),
    "nodes/activation": np.zeros((3, 3), np.float32),
    "labels": np.frombuffer(b'["a"]', np.uint8),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_numbers_that_make_no_circuit_are_refused(project: ProjectFile, name: str) -> None:
    replace_array(project, name, HOSTILE[name])
    with pytest.raises(DamagedProject):
        project.circuit("Dallas")


@pytest.mark.parametrize("text", [b"{", b'{"a": 1}', b"[1, 2]", b"\xff", b"[" * 5000])
def test_texts_that_make_no_labels_are_refused(project: ProjectFile, text: bytes) -> None:
    replace_array(project, "labels", np.frombuffer(text, np.uint8))
    with pytest.raises(DamagedProject):
        project.circuit("Dallas")


CHANGES = [
    "UPDATE array SET data = x'00' WHERE name = 'edges/weight'",
    "UPDATE array SET data = (SELECT data FROM array WHERE name = 'nodes/activation')"
    " WHERE name = 'nodes/influence'",
    "UPDATE array SET name = 'nodes/influence_' WHERE name = 'nodes/influence'",
    "UPDATE array SET dtype = 'int32' WHERE name = 'edges/weight'",
    "UPDATE array SET dtype = 'object' WHERE name = 'edges/weight'",
    "UPDATE array SET shape = '[5, 2]' WHERE name = 'edges/weight'",
    "UPDATE array SET shape = '[99999999999]' WHERE name = 'edges/weight'",
    "UPDATE array SET shape = '[-10]' WHERE name = 'edges/weight'",
    "UPDATE array SET shape = '[true]' WHERE name = 'edges/weight'",
    "UPDATE array SET shape = 'x' WHERE name = 'edges/weight'",
    "UPDATE array SET codec = 'pickle' WHERE name = 'edges/weight'",
    "UPDATE array SET codec = 'zlib' WHERE name = 'edges/weight'",
    "DELETE FROM array WHERE name = 'roots'",
    "UPDATE finding SET provenance = replace(provenance, 'direct', 'magic')",
    "UPDATE finding SET provenance = '{}'",
    "UPDATE finding SET kind = 'oracle'",
    "UPDATE prompt SET tokens = replace(tokens, 'Dallas', 'Oakland')",
]


@pytest.mark.parametrize("statement", CHANGES)
def test_changed_evidence_is_refused_and_named_by_check(
    document: Path, tamper: Tamper, statement: str
) -> None:
    assert check_project(document) == []
    tamper(document, "PRAGMA ignore_check_constraints = ON", statement)
    with ProjectFile.open(document) as project:
        assert project.findings()[0].name == "Dallas"
        with pytest.raises(DamagedProject) as error:
            project.circuit("Dallas")
        assert error.value.kept
    assert check_project(document)


def test_provenance_that_is_no_provenance_is_refused(document: Path, tamper: Tamper) -> None:
    for text in ("[]", '{"method": 1, "nothing": 2, "remarks": 5}', "{}", "[" * 3000):
        tamper(
            document,
            f"UPDATE finding SET provenance = '{text}', provenance_digest = '{text_digest(text)}'",
        )
        with ProjectFile.open(document) as project, pytest.raises(DamagedProject):
            project.circuit("Dallas")


def test_prompts_models_and_dictionaries_are_stored_once(
    project: ProjectFile, small_circuit: Circuit
) -> None:
    project.add(small_circuit, "again")
    with project._copy.reading() as connection:
        for table in ("prompt", "model"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (1,)
        text = connection.execute("SELECT tokens FROM prompt").fetchone()[0]
    assert json.loads(text) == list(small_circuit.tokens)


def test_empty_circuit_reads_back(project: ProjectFile, same_circuit) -> None:
    from circuitscope.core.circuit import EdgeTable, NodeTable
    from circuitscope.core.finding import Provenance

    none = np.zeros(0)
    edges = EdgeTable(none.astype(np.int32), none.astype(np.int32), none, none)
    empty = Circuit((), (), NodeTable.from_keys([]), edges, none, none, none, none, none, none,
                    Provenance("imported"))  # fmt: skip
    project.add(empty, "empty")
    same_circuit(project.circuit("empty"), empty)
