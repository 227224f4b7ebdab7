"""What differs between two circuits as rows, as CSV and as a Markdown report."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from circuitscope.exchange.comparison import (
    ComparisonReport,
    headline,
    noise,
    signed_percent,
)
from circuitscope.exchange.formats.tables import csv_text
from circuitscope.graph.compare import WHERES, Pair, Where

FIELDS: Final = ("thing", "class", "name", "key", "first", "second", "difference", "remark")
_MOST_LINES: Final = 20


@dataclass(frozen=True, slots=True)
class Difference:
    """One row: a node by its influence, or an edge by its share of the target's input.

    Attributes:
        thing: "node" or "edge".
        name: What it is called; of an edge both ends, without the tokens labels begin with.
        nodes: Places in `Comparison.nodes`: of the node, or of source and target.
        values: In the first and in the second circuit.
        remark: What is known of it beyond: silent there, weak there, similar to another.
    """

    thing: str
    where: Where
    name: str
    key: str
    nodes: tuple[int, ...]
    values: tuple[float, float]
    remark: str = ""

    @property
    def change(self) -> float:
        """Return the second value less the first."""
        return self.values[1] - self.values[0]


def differences(told: ComparisonReport) -> list[Difference]:
    """Return every node, then every edge, strongest first."""
    found, alike = told.found, _alike(told)
    names = [told.label(at) for at in range(len(found.nodes))]
    short = [name.rpartition(" → ")[2] for name in names]
    nodes = [
        Difference("node", pair.where, names[at], str(pair.key), (at,), pair.influence,
                   alike.get(str(pair.key)) or _held(told, pair))
        for at, pair in enumerate(found.nodes)
    ]  # fmt: skip
    edges = [
        Difference("edge", edge.where, " → ".join(short[at] for at in edge.ends),
                   f"{edge.source} → {edge.target}", edge.ends, edge.shares)
        for edge in found.edges
    ]  # fmt: skip
    edges.sort(key=lambda edge: -max(map(abs, edge.values)))
    return nodes + edges


def _alike(told: ComparisonReport) -> dict[str, str]:
    """Return by a feature's name which feature of the other circuit writes nearly the same."""
    found: dict[str, str] = {}
    for pair in told.transfer.similar if told.transfer is not None else ():
        for own, other in ((pair.a, pair.b), (pair.b, pair.a)):
            _, _, layer, _, unit = other.split("/")
            found[own] = (
                f"similar: L{layer}/{unit} (cosine {pair.cosine:.2f}, active together at "
                f"{pair.together} of {pair.either} places)"
            )
    return found


def _held(told: ComparisonReport, pair: Pair) -> str:
    """Say whether what one circuit has alone is silent in the other's run, or only weak."""
    if pair.where not in ("a", "b"):
        return ""
    side = 0 if pair.where == "a" else 1
    other = told.names[1 - side]
    if told.transfer is not None:
        value = told.transfer.elsewhere[side].get(str(pair.key))
        if value is not None:
            return f"active on {other}: {value:.3g}" if value else f"silent on {other}"
    return f"in {other}’s circuit, but weak" if pair.held[1 - side] else ""


def comparison_csv(told: ComparisonReport) -> str:
    """Return all differences as CSV."""
    return csv_text(FIELDS, (
        {
            "thing": one.thing, "class": told.class_name(one.where), "name": one.name,
            "key": one.key, "first": one.values[0], "second": one.values[1],
            "difference": one.change, "remark": one.remark,
        }
        for one in differences(told)
    ))  # fmt: skip


def comparison_markdown(told: ComparisonReport) -> str:
    """Return the comparison as a report in Markdown."""
    a, b = (_cell(name) for name in told.names[:2])
    lines = [f"# {a} against {b}", "", *(f"{_cell(text)}\n" for text in headline(told)),
             *(f"{_cell(text)}\n" for text in noise(told))]  # fmt: skip
    counts = told.found.counts()
    lines += ["| class | nodes | edges |", "|---|---:|---:|"]
    lines += [
        f"| {_cell(told.class_name(where))} | {counts['nodes'][where]} | {counts['edges'][where]} |"
        for where in WHERES
    ]
    if told.transfer is not None:
        found = told.transfer
        lines += ["", "Share of the answer that each circuit alone keeps, not clipped:", "",
                  f"| prompt | answer | {' | '.join(map(_cell, found.circuits))} |",
                  "|---|---|" + "---:|" * len(found.circuits)]  # fmt: skip
        for name, metric, row in zip((a, b), found.metrics, found.kept, strict=True):
            shares = " | ".join("—" if np.isnan(v) else signed_percent(v) for v in row)
            lines.append(f"| {name} | {_cell(metric)} | {shares} |")
        lines += [f"\n{_cell(remark)}" for remark in found.remarks]
    rows = differences(told)
    for thing, values in (("node", "influence"), ("edge", "share of the target’s input")):
        for where in WHERES:
            chosen = [one for one in rows if one.thing == thing and one.where == where]
            if not chosen or (where == "both" and thing == "edge"):
                continue
            lines += ["", f"## {thing.capitalize()}s: {_cell(told.class_name(where))}", "",
                      f"The strongest {min(len(chosen), _MOST_LINES)} of {len(chosen)}, by "
                      f"{values}.", "", f"| name | {a} | {b} | remark |",
                      "|---|---:|---:|---|"]  # fmt: skip
            lines += [
                f"| {_cell(one.name)} | {one.values[0]:.3f} | {one.values[1]:.3f} | "
                f"{_cell(one.remark)} |"
                for one in chosen[:_MOST_LINES]
            ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())
