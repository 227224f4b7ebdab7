"""Every registered file format, built in or not, keeps what the seam promises."""

import hashlib
import re
import xml.etree.ElementTree as ET
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import CircuitScopeError, ExchangeError
from circuitscope.core.progress import silent
from circuitscope.core.rows import RowKey, Rows
from circuitscope.exchange.format import (
    Document,
    WriteOptions,
    export,
    files_of,
    formats,
    import_file,
)

FORMATS = formats()
WRITERS = sorted(suffix for suffix, found in FORMATS.items() if found.can_write)
READERS = sorted(suffix for suffix, found in FORMATS.items() if found.can_read)
_NAMESPACE = re.compile(rb"""xmlns(?::\w+)?\s*=\s*(?:"[^"]*"|'[^']*')""")
ODD = (
    "\n", "\t \r\n", '"\'<&>]]>', "مرحبا بالعالم", "🏳️‍🌈👩🏽‍🚀", "\x00\x01\x1b[31m", "\u202eevil",
    "<script>alert(1)</script>", "x" * 400, "", "   ", "a\u0301\u0308", "\ufffe\uffff", "漢字かな",
)  # fmt: skip


@pytest.fixture
def odd(small_circuit: Circuit) -> tuple[Circuit, Rows]:
    """Return a circuit whose tokens, labels and groups are as odd as text gets."""
    tokens = (ODD * 2)[: len(small_circuit.tokens)]
    labels = tuple(ODD[i % len(ODD)] for i in range(len(small_circuit.nodes)))
    provenance = replace(
        small_circuit.provenance, settings={"prompt": "".join(ODD)}, remarks=("Odd: " + ODD[2],)
    )
    circuit = replace(small_circuit, tokens=tokens, labels=labels, provenance=provenance)
    keys = [str(circuit.nodes.key(i)) for i in range(len(circuit.nodes))]
    rows: Rows = {RowKey("", "pin", key): {} for key in keys[:3] + keys[7:]}
    rows[RowKey("", "group", 'g<&"')] = {"label": ODD[7], "color": "teal"}
    rows |= {RowKey("", "member", key): {"group": 'g<&"'} for key in keys[3:5]}
    rows[RowKey("", "label", keys[1])] = {"text": ODD[4] + ODD[5], "source": "person"}
    return circuit, rows


def test_the_built_in_formats_are_registered() -> None:
    assert set(WRITERS) >= {
        ".svg", ".pdf", ".png", ".tex", ".html", ".json", ".graphml", ".gexf", ".dot", ".csv"
    }  # fmt: skip
    assert READERS == [".json"] or ".json" in READERS


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("what", ["circuit", "link_graph"])
def test_odd_tokens_are_written_with_provenance_and_without_network_addresses(
    odd: tuple[Circuit, Rows], tmp_path: Path, suffix: str, what: str
) -> None:
    circuit, rows = odd
    path = tmp_path / f"odd{suffix}"
    export(Document(circuit, rows, name="odd"), path, what=what, options=WriteOptions(dpi=72))
    content = b"".join(part.read_bytes() for part in files_of(path))
    assert circuit.digest.encode() in _uncompressed(content, suffix)
    assert re.findall(rb"(?:https?|ftp)://\S+", _NAMESPACE.sub(b"", content)) == []
    assert b"<script>alert" not in content or suffix not in (".svg", ".html", ".graphml", ".gexf")
    if suffix in (".svg", ".graphml", ".gexf"):
        ET.fromstring(content)


@pytest.mark.parametrize("suffix", WRITERS)
def test_the_same_circuit_gives_the_same_file_size_and_leaves_no_litter(
    small_circuit: Circuit, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"twice{suffix}"
    options = WriteOptions(dpi=72)
    export(Document(small_circuit), path, options=options)
    first = [part.stat().st_size for part in files_of(path)]
    export(Document(small_circuit), path, options=options)
    assert [part.stat().st_size for part in files_of(path)] == first
    assert sorted(tmp_path.iterdir()) == sorted(files_of(path))


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_place_that_cannot_be_written_is_explained(
    small_circuit: Circuit, tmp_path: Path, suffix: str
) -> None:
    folder = tmp_path / f"folder{suffix}"
    folder.mkdir()
    for part in files_of(folder):
        part.mkdir(exist_ok=True)
    for path in (folder, tmp_path / "missing" / f"x{suffix}", tmp_path / f"{'n' * 300}{suffix}"):
        with pytest.raises(ExchangeError) as caught:
            export(Document(small_circuit), path, options=WriteOptions(dpi=72))
        assert caught.value.kept
        assert caught.value.hint


@pytest.mark.parametrize("suffix", sorted(set(READERS) & set(WRITERS)))
def test_import_of_an_export_is_the_circuit_and_its_drawing(
    odd: tuple[Circuit, Rows], tmp_path: Path, suffix: str
) -> None:
    circuit, rows = odd
    path = tmp_path / f"there{suffix}"
    export(Document(circuit, rows), path)
    back = import_file(path)
    assert back.circuit.digest == circuit.digest
    assert back.circuit.tokens == circuit.tokens
    assert back.circuit.labels == circuit.labels
    assert back.circuit.provenance == circuit.provenance
    assert np.array_equal(back.circuit.nodes.influence, circuit.nodes.influence)
    assert back.rows_for("") == rows
    assert back.digest == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("suffix", sorted(set(FORMATS) - set(READERS)))
def test_formats_that_cannot_read_say_so(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(b"x")
    for read in (lambda: import_file(path), lambda: FORMATS[suffix].read(path, silent())):
        with pytest.raises(CircuitScopeError):
            read()


def test_unknown_suffixes_name_those_that_work(small_circuit: Circuit, tmp_path: Path) -> None:
    with pytest.raises(ExchangeError) as caught:
        export(Document(small_circuit), tmp_path / "figure.bmp")
    assert ".svg" in caught.value.hint
    with pytest.raises(ExchangeError):
        export(Document(small_circuit), tmp_path / "figure")


def _uncompressed(content: bytes, suffix: str) -> bytes:
    if suffix == ".pdf":
        streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL)
        return content + b"".join(_inflated(stream) for stream in streams)
    if suffix == ".png":
        from PySide6.QtGui import QImage

        image = QImage.fromData(content)
        return image.text("circuitscope").encode()
    return content


def _inflated(stream: bytes) -> bytes:
    try:
        return zlib.decompress(stream)
    except zlib.error:
        return stream
