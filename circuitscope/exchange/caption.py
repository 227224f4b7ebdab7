"""What a figure says of itself: title, caption lines and the provenance every file carries."""

import json
import re
from typing import Any, Final

import numpy as np

import circuitscope
from circuitscope.core.circuit import Circuit
from circuitscope.core.keys import NodeKind
from circuitscope.exchange.theme import Theme
from circuitscope.exchange.typeface import printable
from circuitscope.graph.influence import is_flow, is_relevance, scores
from circuitscope.graph.view import View

_METHODS: Final = {
    "direct": "direct attribution",
    "attribution": "attribution graph",
    "contextual": "contextual decomposition",
    "eap": "attribution patching (EAP)",
    "eap_ig": "attribution patching, integrated gradients (EAP-IG)",
    "path_patching": "path patching",
    "information_flow": "information flow routes",
}
_NOTHING_FIXED: Final = frozenset(
    {"contextual", "eap", "eap_ig", "information_flow", "patching", "path_patching"}
)
FIXED: Final = "Attention patterns and norms held fixed."


def main_root(circuit: Circuit) -> int | None:
    """Return the index of the root with the largest weight."""
    if not len(circuit.roots):
        return None
    return int(circuit.roots[int(np.argmax(circuit.root_weights))])


def percent(share: float) -> str:
    """Write a share as "97 %"; near its ends with a decimal, so that only all of it is 100 %."""
    value = 100 * share
    if 99 <= value < 100:
        return "99.9 %" if value > 99.9 else f"{value:.1f} %"
    if value >= 0.95 or value == 0:
        return f"{value:.0f} %"
    return f"{value:.1f} %" if value > 0.05 else "<0.1 %"


def fraction(value: float) -> str:
    """Write a fraction as ".60"."""
    text = f"{value:.2f}"
    return text[1:] if text.startswith("0") else text


def counted(number: int, noun: str) -> str:
    """Write "1 feature", "6 features", "2 211 nodes"; thousands are set apart by thin spaces."""
    plural = noun if number == 1 else "dictionaries" if noun == "dictionary" else f"{noun}s"
    return f"{grouped(number)} {plural}"


def grouped(number: int) -> str:
    """Write a whole number with its thousands set apart: "2 211"."""
    return f"{number:,}".replace(",", " ")


def title_of(circuit: Circuit, answer: str = "") -> str:
    """Return "prompt → answer"."""
    prompt = printable(circuit.prompt)
    return f"{prompt} → {printable(answer)}" if answer else prompt


def holds_fixed(circuit: Circuit) -> bool:
    """Say whether the method freezes attention patterns and norms."""
    return circuit.provenance.method not in _NOTHING_FIXED


def meaning_of_edges(circuit: Circuit) -> str:
    """Say what the numbers and widths of edges are."""
    if is_relevance(circuit):
        return "Edges: relevance along all paths, as a share of the whole; shares do not add up."
    if is_flow(circuit):
        return "Edges: share of what the target's input consists of; no effects on the answer."
    return "Edges: share of the target's input."


def edge_inks(circuit: Circuit, theme: Theme) -> tuple[str, str]:
    """Return the colours of a circuit's positive and negative edges: one pair for each meaning."""
    if is_flow(circuit):
        return theme.flow, theme.flow
    return theme.relevance if is_relevance(circuit) else (theme.positive, theme.negative)


def caption_of(circuit: Circuit, view: View, opening: str) -> list[str]:
    """Return the caption's paragraphs.

    Args:
        circuit: The evidence.
        view: What is shown.
        opening: What the figure's edges mean.

    Returns:
        What the figure shows and what was held fixed; where it comes from; remarks, if any.
    """
    found = circuit.provenance
    first = f"{opening} {FIXED}" if holds_fixed(circuit) else opening
    parts = [
        str(found.model.get("name") or found.model.get("architecture") or "unnamed model"),
        counted(len(found.dictionaries), "dictionary") if found.dictionaries else "",
        _method(circuit),
        f"{grouped(int(view.nodes.sum()))} of {counted(len(view.nodes), 'node')}",
        *_numbers(circuit, view),
        "" if view.show_errors else "unexplained parts not shown",
        f"only {view.filter}" if view.filter else "",
        circuit.digest[:8],
    ]
    line = " · ".join(printable(part) for part in parts if part)
    # What the settings left out is in the file's provenance; a caption has room for caveats only.
    told = [printable(text) for text in found.remarks if not text.startswith("Not used:")]
    return [first, line, *_merged(told)]


def _numbers(circuit: Circuit, view: View) -> list[str]:
    """Return the scores of the whole: of influence, or of a circuit of relevances."""
    found = circuit.provenance.scores
    if is_relevance(circuit):
        names = {"faithfulness": "faithfulness", "whole": "whole", "sum_of_parts": "sum of parts"}
        return [f"{name} {found[key]:.3g}" for key, name in names.items() if key in found]
    if is_flow(circuit):
        return [f"importance {fraction(view.node_threshold)}",
                f"followed to the words {percent(found.get('followed', 0.0))}"]  # fmt: skip
    values = scores(circuit)
    return [
        f"influence {fraction(view.node_threshold)}",
        f"error share {percent(values['error_share'])}",
        f"replacement {fraction(values['replacement'])}",
    ]


def _merged(remarks: list[str]) -> list[str]:
    """Say once what is true of several dictionaries: the first, and how many more like it."""
    alike: dict[str, list[str]] = {}
    for remark in remarks:
        kind = re.sub(r"[0-9.]+", "#", remark.partition(" ")[2]) or remark
        alike.setdefault(kind, []).append(remark)
    return [
        first + (f" {counted(len(more), 'more remark')} of this kind." if more else "")
        for first, *more in alike.values()
    ]


def _method(circuit: Circuit) -> str:
    found = circuit.provenance
    name = _METHODS.get(found.method, found.method)
    rule = found.settings.get("mlp")
    if found.method == "direct" and rule in ("secant", "transcoder"):
        name += ", secant MLPs" if rule == "secant" else ", transcoders"
    return name


def metadata_of(circuit: Circuit, view: View, kind: str) -> dict[str, Any]:
    """Return the provenance that every exported file carries, as JSON values."""
    return {
        "application": "CircuitScope",
        "version": circuitscope.__version__,
        "figure": kind,
        "circuit": circuit.digest,
        "prompt": circuit.prompt,
        "tokens": list(circuit.tokens),
        "nodes": len(circuit.nodes),
        "edges": len(circuit.edges),
        "nodes_shown": int(view.nodes.sum()),
        "node_threshold": view.node_threshold,
        "edge_threshold": view.edge_threshold,
        "held_fixed": FIXED if holds_fixed(circuit) else "",
        "scores": {name: round(value, 6) for name, value in scores(circuit).items()},
        "provenance": json.loads(circuit.provenance.without_folders().to_json()),
    }


def kind_name(kind: NodeKind, number: int) -> str:
    """Return "6 features", "2 heads", "1 token", "3 unexplained parts"."""
    nouns = {
        NodeKind.OPAQUE: "node", NodeKind.ERROR: "unexplained part", NodeKind.BIAS: "constant",
        NodeKind.SCORE: "attention score",
    }  # fmt: skip
    return counted(number, nouns.get(kind, kind.text))
