"""Features of the same dictionary that write like one, or fire on the same tokens."""

from dataclasses import replace

from PySide6.QtWidgets import QGridLayout, QVBoxLayout

from circuitscope.app.desk import Desk
from circuitscope.app.meanings import explain
from circuitscope.app.theme import px
from circuitscope.app.widgets import button, elided, section, text_label
from circuitscope.app.words import plain, tr
from circuitscope.core.circuit import Circuit
from circuitscope.core.keys import NodeKey
from circuitscope.evidence.records import Companion, FeaturePage
from circuitscope.session import feature_work

_SHOWN = 6
_LEAST_ALIKE, _LEAST_TOGETHER = 0.3, 0.2


def add_relatives(
    column: QVBoxLayout, desk: Desk, circuit: Circuit, key: NodeKey, page: FeaturePage
) -> None:
    """Add both lists, with what is known of each; a feature of this circuit can be gone to."""
    for title, others, least in (
        (tr("Writes like"), page.similar, _LEAST_ALIKE),
        (tr("Fires together with"), page.companions, _LEAST_TOGETHER),
    ):
        near = [other for other in others if other.similarity >= least][:_SHOWN]
        if not near:
            continue
        column.addWidget(section(title))
        grid = QGridLayout()
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(1)
        grid.setColumnStretch(2, 1)
        for row, other in enumerate(near):
            grid.setRowMinimumHeight(row, px(20))  # as high as a link
            found = places_in(circuit, replace(key, unit=other.unit))
            _add(grid, row, desk, found, other, _label(desk, page, other))
        column.addLayout(grid)


def _label(desk: Desk, page: FeaturePage, other: Companion) -> str:
    feature = replace(page.feature, unit=other.unit)
    label = feature_work.label_of(desk.session, feature)
    return label.text if label is not None else ""


def _add(
    grid: QGridLayout, row: int, desk: Desk, here: list[int], other: Companion, label: str
) -> None:
    name = f"#{other.unit}"
    if here:
        grid.addWidget(button(name, "link", lambda: desk.session.select(here[:1])), row, 0)
    else:
        grid.addWidget(text_label(name, "small"), row, 0)
    alike = text_label(plain(other.similarity), "small")
    explain(alike, "similarity")
    grid.addWidget(alike, row, 1)
    grid.addWidget(elided(label, "small"), row, 2)


def places_in(circuit: Circuit, key: NodeKey) -> list[int]:
    """Return the nodes of a circuit that are the same feature, at any position."""
    nodes = circuit.nodes
    same = (
        (nodes.kind == int(key.kind)) & (nodes.site == int(key.site))
        & (nodes.layer == key.layer) & (nodes.unit == key.unit)
    )  # fmt: skip
    found: list[int] = same.nonzero()[0].tolist()
    return found
