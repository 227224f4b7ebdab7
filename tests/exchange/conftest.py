"""The made-up Dallas circuit, and a small graph file of each dialect."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from circuitscope.core.circuit import Circuit
from circuitscope.core.rows import Rows

_PATH = Path(__file__).with_name("dallas.py")


def _dallas() -> tuple[Circuit, Rows]:
    spec = importlib.util.spec_from_file_location("dallas_circuit", _PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.dallas()


@pytest.fixture(scope="session")
def dallas() -> tuple[Circuit, Rows]:
    return _dallas()


def node(name: str, kind: str, layer: str | int, position: int, **more: Any) -> dict[str, Any]:
    return {
        "node_id": name, "feature_type": kind, "layer": layer, "ctx_idx": position,
        "feature": None, "jsNodeId": more.pop("js", name), "clerp": "", **more,
    }  # fmt: skip


@pytest.fixture
def graph() -> dict[str, Any]:
    """Return a circuit-tracer graph of 3 layers, with the id that two of its nodes share."""
    clt, error = "cross layer transcoder", "mlp reconstruction error"
    nodes = [
        node("E_11_0", "embedding", "E", 0, feature=0),
        node("E_12_1", "embedding", "E", 1, feature=1, clerp='Emb: " Dallas"'),
        node("0_1_1", clt, "0", 1, feature=2, js="0_1-0", clerp="cities", activation=2.5),
        node("0_1_1", error, "1", 1, feature=-1, js="0_1-1"),
        node("1_57794_1", clt, "1", 1, feature=1670217704, js="1_57794-0", activation=1.25),
        node("1_57794_0", clt, "1", 0, feature=1670217704, js="1_57794-0"),
        node("4_99_1", "logit", "4", 1, js="L_99-1",
             clerp='Output " Austin" (p=0.800)', token_prob=0.8),
        node("4_98_1", "logit", "4", 1, js="L_98-1", clerp='Output "\n" (p=0.100)'),
        node("x", "something new", 2, 1),
    ]  # fmt: skip
    pairs = [
        ("E_12_1", "0_1_1", 2.0), ("0_1_1", "1_57794_1", 1.0), ("0_1_1", "4_99_1", 0.5),
        ("0_1_1", "4_99_1", -0.25), ("1_57794_1", "4_99_1", 3.0), ("E_11_0", "4_98_1", 0.5),
        ("x", "4_99_1", 0.125), ("E_11_0", "1_57794_0", 1.0),
    ]  # fmt: skip
    links = [{"source": s, "target": t, "weight": w} for s, t, w in pairs]
    return {
        "metadata": {
            "slug": "dallas", "scan": "gemma-2-2b", "prompt_tokens": ["<bos>", " Dallas"],
            "prompt": "<bos> Dallas", "node_threshold": 0.8, "schema_version": 1,
            "transcoder_list": ["gemmascope"],
            "info": {"generator": {"name": "circuit-tracer", "version": "0.4.1"}},
        },
        "qParams": {
            "linkType": "both", "pinnedIds": ["0_1_1", "4_99_1", "1_57794-0"], "clickedId": "",
            "supernodes": [["say Austin", "1_57794_1", "1_57794_0"], ["empty", "gone"]],
            "sg_pos": "",
        },
        "nodes": nodes, "links": links,
    }  # fmt: skip


@pytest.fixture
def write(tmp_path: Path):
    def put(data: Any, name: str = "graph.json") -> Path:
        path = tmp_path / name
        path.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
        return path

    return put
