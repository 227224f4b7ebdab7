"""Other programs read our graph files: networkx here, Graphviz, TeX and a browser's language where
they are installed."""

import csv
import json
import re
import shutil
import subprocess
from pathlib import Path

import networkx
import numpy as np
import pytest

from circuitscope.core.circuit import Circuit
from circuitscope.core.rows import Rows
from circuitscope.exchange.figures import circuit_figure, link_figure
from circuitscope.exchange.format import Document, export
from circuitscope.exchange.formats.tikz import tex, tikz_text
from circuitscope.exchange.graph_table import EDGE_FIELDS, NODE_FIELDS, graph_table
from circuitscope.exchange.page import SCRIPT

Drawn = tuple[Circuit, Rows]


def written(drawn: Drawn, tmp_path: Path, name: str) -> Path:
    path = tmp_path / name
    export(Document(*drawn, name="Dallas"), path)
    return path


def check_graph(graph: networkx.DiGraph, drawn: Drawn, weight: str) -> None:
    circuit, rows = drawn
    table = graph_table(circuit, rows)
    assert list(graph.nodes) == [node["id"] for node in table.nodes]
    for node in table.nodes:
        found = graph.nodes[node["id"]]
        assert found["label"] == node["label"]
        assert found["layer"] == node["layer"]
        assert found["shown"] is node["shown"]
        assert np.float32(found["influence"]) == np.float32(node["influence"])
    for _, edge in table.edges():
        found = graph.edges[edge["source"], edge["target"]]
        assert np.float32(found[weight]) == np.float32(edge["weight"])
        assert found["route"] == edge["route"]
    assert graph.number_of_edges() == len(circuit.edges)


def test_networkx_reads_graphml_as_it_is(dallas: Drawn, tmp_path: Path) -> None:
    graph = networkx.read_graphml(written(dallas, tmp_path, "x.graphml"))
    check_graph(graph, dallas, "weight")
    assert json.loads(graph.graph["provenance"])["circuit"] == dallas[0].digest
    assert any(data["group_label"] for _, data in graph.nodes(data=True))


def test_networkx_reads_gexf_with_weights_that_gephi_takes(dallas: Drawn, tmp_path: Path) -> None:
    graph = networkx.read_gexf(written(dallas, tmp_path, "x.gexf"))
    check_graph(graph, dallas, "signed_weight")
    assert all(data["weight"] >= 0 for _, _, data in graph.edges(data=True))
    assert {"position", "color", "size"} <= set(next(iter(graph.nodes.values()))["viz"])


def test_tables_hold_every_node_edge_and_member(dallas: Drawn, tmp_path: Path) -> None:
    circuit, rows = dallas
    written(dallas, tmp_path, "x.csv")

    def read(part: str) -> list[dict[str, str]]:
        with (tmp_path / f"x.{part}.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    nodes, edges, members = read("nodes"), read("edges"), read("members")
    assert list(nodes[0]) == list(NODE_FIELDS)
    assert list(edges[0]) == list(EDGE_FIELDS)
    np.testing.assert_array_equal(
        np.array([row["weight"] for row in edges]).astype(np.float32), circuit.edges.weight
    )
    np.testing.assert_array_equal(
        np.array([row["influence"] for row in nodes]).astype(np.float32), circuit.nodes.influence
    )
    assert len(members) == sum(key.kind == "member" for key in rows)
    assert {row["node"] for row in members} <= {row["id"] for row in nodes}
    record = json.loads((tmp_path / "x.provenance.json").read_text("utf-8"))
    assert record["circuit"] == circuit.digest


def test_dot_shows_what_the_drawing_shows_in_clusters(dallas: Drawn, tmp_path: Path) -> None:
    text = written(dallas, tmp_path, "x.dot").read_text("utf-8")
    table = graph_table(*dallas)
    assert text.count(" -> ") == int(table.shown.sum())
    assert text.count("pos=") == sum(node["shown"] for node in table.nodes)
    assert "subgraph" in text
    assert text.count("{") == text.count("}")


@pytest.mark.skipif(not shutil.which("dot"), reason="Graphviz is not installed")
def test_graphviz_reads_dot(dallas: Drawn, tmp_path: Path) -> None:
    path = written(dallas, tmp_path, "x.dot")
    done = subprocess.run(["dot", "-Tcanon", path], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def balanced(text: str) -> bool:
    plain = re.sub(r"(?m)(?<!\\)%.*$", "", text)
    depth = 0
    for sign in re.findall(r"\\.|[{}]", plain):
        depth += (sign == "{") - (sign == "}")
        if depth < 0:
            return False
    return depth == 0


@pytest.mark.parametrize("draw", [circuit_figure, link_figure])
def test_tikz_has_every_text_and_balanced_braces(dallas: Drawn, draw) -> None:
    figure = draw(*dallas)
    text = tikz_text(figure)
    assert balanced(text)
    assert text.count(r"\node[") == len([t for t in figure.texts() if tex(t.text)])
    assert all(ord(c) < 0x250 for c in text), "pdflatex knows no more"
    assert max(map(len, text.splitlines())) < 20_000
    assert r"\definecolor" in text
    assert f"rectangle ({figure.width:g},".split(".")[0] in text


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("50% of $x_1$ & {y} ~ ^ # \\", r"50\% of \$x\_1\$ \& \{y\} \textasciitilde{} "
         r"\textasciicircum{} \# \textbackslash{}"),
        ("é → −3", r"é \ensuremath{\rightarrow} \ensuremath{-}3"),
        ("Ġthe\n", r"\.Gthe"),
        ("漢", r"{\tiny U+6F22}"),
        ("a\u0301", "á"),
    ],
)  # fmt: skip
def test_tex_prints_what_it_is_given(text: str, wanted: str) -> None:
    assert tex(text) == wanted


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="TeX is not installed")
@pytest.mark.parametrize("draw", [circuit_figure, link_figure])
def test_pdflatex_compiles_tikz(dallas: Drawn, tmp_path: Path, draw) -> None:
    (tmp_path / "x.tex").write_text(tikz_text(draw(*dallas)), "utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "x.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


PAGE = """
const handlers = {}, made = {};
function part(name) {
  return made[name] = made[name] || { name, style: {}, attributes: {}, offsetWidth: 9,
    offsetHeight: 9, textContent: "", classList: { add() {}, remove() {} },
    addEventListener(kind, act) { handlers[name + " " + kind] = act; },
    setPointerCapture() {}, removeAttribute(key) { delete this.attributes[key]; },
    getAttribute(key) { return this.attributes[key]; },
    setAttribute(key, value) { this.attributes[key] = value; } };
}
const svg = part("svg"), node = part("node");
svg.attributes = { viewBox: "0 0 100 50", width: "100pt" };
svg.getBoundingClientRect = () => ({ left: 0, top: 0, width: 200, height: 100 });
const title = { parentNode: node, textContent: "a <b> & c", remove() {} };
svg.querySelectorAll = () => [title];
part("stage").querySelector = () => svg;
globalThis.document = { getElementById: part };
globalThis.innerWidth = 800; globalThis.innerHeight = 600;
"""
CHECKS = """
const start = svg.attributes.viewBox;
handlers["in click"]();
const nearer = svg.attributes.viewBox.split(" ").map(Number);
if (!(nearer[2] < 100)) throw Error("no zoom");
if (Math.abs(nearer[0] + nearer[2] / 2 - 50) > 1e-9) throw Error("zoom left the middle");
let stopped = 0;
handlers["stage wheel"]({ deltaY: 60, clientX: 0, clientY: 0, preventDefault() { stopped++; } });
handlers["stage pointerdown"]({ clientX: 0, clientY: 0, pointerId: 1 });
handlers["stage pointermove"]({ clientX: 10, clientY: 0 });
handlers["stage pointerup"]({});
handlers["stage keydown"]({ key: "ArrowLeft", preventDefault() { stopped++; } });
if (stopped !== 2) throw Error("the page would have scrolled");
handlers["stage dblclick"]();
if (svg.attributes.viewBox !== "0 0 100 50") throw Error("fit: " + svg.attributes.viewBox);
handlers["stage pointermove"]({ target: { parentNode: node }, clientX: 790, clientY: 5 });
const tip = made.tip;
if (tip.textContent !== "a <b> & c" || tip.style.display !== "block") throw Error("no tooltip");
if (parseFloat(tip.style.left) + 9 > 800) throw Error("the tooltip left the page");
handlers["stage pointermove"]({ target: svg, clientX: 1, clientY: 1 });
if (tip.style.display !== "none") throw Error("the tooltip stayed");
"""


def test_the_pages_script_pans_zooms_and_tells(qapp) -> None:
    """Qt's own interpreter runs it on a page of a few parts."""
    from PySide6.QtQml import QJSEngine

    result = QJSEngine().evaluate(PAGE + SCRIPT + CHECKS)
    assert not result.isError(), f"{result.toString()} at line {result.property('lineNumber')}"


def test_the_page_is_closed_to_the_network_and_names_its_circuit(
    dallas: Drawn, tmp_path: Path
) -> None:
    text = written(dallas, tmp_path, "x.html").read_text("utf-8")
    assert "default-src 'none'" in text.replace("&#x27;", "'")
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?!data:)""", text)
    assert "url(data:font/ttf" in text
    assert dallas[0].digest in text
    assert text.count("<svg ") == 1
