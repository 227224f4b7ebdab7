"""A node's labels over time: who wrote which when; a click on an old one brings it back."""

from PySide6.QtWidgets import QVBoxLayout

from circuitscope.app.desk import Desk
from circuitscope.app.table import Cell, Column, Table
from circuitscope.app.widgets import hairline, section
from circuitscope.app.words import tr
from circuitscope.core.circuit import Circuit
from circuitscope.evidence.records import FeaturePage
from circuitscope.project import verbs

_WHO = {"person": "you", "imported": "imported", "machine": "machine"}


def label_lines(
    desk: Desk, circuit: Circuit, node: int, page: FeaturePage | None
) -> list[tuple[str, str, str]]:
    """Return text, who and when of a node's labels, oldest first; the trace's own comes first."""
    lines = [(circuit.labels[node], tr("machine"), "")] if circuit.labels[node] else []
    if page is not None:
        lines += [(label.text, tr(_WHO[label.source]), label.made) for label in page.labels]
    drawing = desk.session.drawing
    key = str(circuit.nodes.key(node))
    lines += [
        (row["text"], tr(_WHO.get(str(row.get("source", "")), "machine")), when)
        for when, row in drawing.row_history("label", key)
    ]
    row = drawing.row("label", key)
    if row is not None and row["text"] not in [text for text, _, _ in lines]:
        lines.append((row["text"], tr(_WHO.get(str(row.get("source", "")), "machine")), ""))
    seen: dict[tuple[str, str], tuple[str, str, str]] = {}
    for line in lines:
        if line[0]:
            seen.setdefault((line[0], line[1]), line)
    return list(seen.values())


def add_label_history(
    column: QVBoxLayout, desk: Desk, circuit: Circuit, node: int, page: FeaturePage | None
) -> None:
    """Add the table where a node has had more than one label."""
    lines = label_lines(desk, circuit, node, page)
    if len(lines) < 2:
        return
    table = Table(tr("Labels so far"), (Column(tr("Label")), Column(tr("Who")), Column(tr("When"))),
                  desk.palette)  # fmt: skip
    key = str(circuit.nodes.key(node))
    for text, who, when in reversed(lines):
        cells = (Cell(text), Cell(who), Cell(when[:10]))
        table.add(cells, text, tr("{0}\nPress Return or double-click to use it again").format(text))

    def revert(text: str) -> None:
        if desk.session.label(node) != text:
            desk.session.edit(verbs.label, key, text)

    table.itemActivated.connect(lambda item, _at: revert(item.thing))
    table.fit_height()
    column.addWidget(hairline())
    column.addWidget(section(tr("Labels so far")))
    column.addWidget(table)
