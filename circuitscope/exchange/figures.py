"""The figures people export: the circuit diagram and the link graph."""

from circuitscope.core.circuit import Circuit
from circuitscope.core.rows import Rows
from circuitscope.exchange import diagram, linkgraph
from circuitscope.exchange.figure import Figure
from circuitscope.exchange.theme import PRESETS, PRINT, Preset, Theme
from circuitscope.graph.view import View


def circuit_figure(
    circuit: Circuit,
    rows: Rows,
    view: View | None = None,
    preset: Preset = PRESETS["screen"],
    theme: Theme = PRINT,
) -> Figure:
    """Draw the pinned and grouped part of a circuit as a diagram, bottom (tokens) to top (logits).

    Args:
        circuit: The evidence.
        rows: The drawing's rows; where nothing is pinned or grouped, the most influential nodes
            are drawn.
        view: What is shown; worked out from the rows where left out.
        preset: Sizes in points.
        theme: Colours.

    Returns:
        The figure; its width is the preset's, its height follows from the content.
    """
    return diagram.circuit_figure(circuit, rows, view, preset, theme)


def link_figure(
    circuit: Circuit,
    rows: Rows,
    view: View | None = None,
    preset: Preset = PRESETS["screen"],
    theme: Theme = PRINT,
) -> Figure:
    """Draw the link graph: layers by tokens, the strongest edges, token strip, legend, caption.

    Args:
        circuit: The evidence.
        rows: The drawing's rows; what is pinned or grouped keeps its colour, the rest fades.
        view: What is shown; worked out from the rows where left out.
        preset: Sizes in points.
        theme: Colours.
    """
    return linkgraph.link_figure(circuit, rows, view, preset, theme)
