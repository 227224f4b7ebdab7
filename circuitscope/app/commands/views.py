"""Change what is seen and what is selected; none of this is in the undo history."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PySide6.QtWidgets import QWhatsThis

from circuitscope.app.desk import Desk
from circuitscope.app.dialogs.name import ask_name
from circuitscope.app.words import plural, signed_percent, tr
from circuitscope.graph.influence import stages
from circuitscope.graph.paths import reached, strongest_paths
from circuitscope.graph.query import parse_query
from circuitscope.session.showing import Focus

MOST_PATHS = 5
"""Paths shown between two nodes, strongest first."""


def quit_window(desk: Desk) -> None:
    """Close the window."""
    desk.window.close()


def fit(desk: Desk) -> None:
    """Show the whole graph."""
    desk.window.canvas().fit()


def frame(desk: Desk) -> None:
    """Show the selected nodes as large as they fit."""
    desk.window.canvas().frame_selection()


def show_link_graph(desk: Desk) -> None:
    """Show the tab with layers by tokens."""
    desk.window.show_view("link")


def show_circuit(desk: Desk) -> None:
    """Show the tab with the diagram."""
    desk.window.show_view("circuit")


def find(desk: Desk) -> None:
    """Put the cursor into the search field."""
    desk.window.search.start()


def find_next(desk: Desk) -> None:
    """Go to the next match; ask what to find where nothing was looked for."""
    desk.window.search.step(1)


def find_previous(desk: Desk) -> None:
    """Go to the match before."""
    desk.window.search.step(-1)


def show_commands(desk: Desk) -> None:
    """Open the command palette."""
    from circuitscope.app.dialogs.command_palette import CommandPalette

    desk.window.refresh()
    CommandPalette(desk).open()


def show_preferences(desk: Desk) -> None:
    """Open the preferences, or bring them to the front."""
    from circuitscope.app.dialogs.preferences import PreferencesDialog

    known = desk.window.findChild(PreferencesDialog)
    dialog = known if known is not None else PreferencesDialog(desk)
    dialog.show()
    dialog.raise_()
    dialog.activateWindow()


def edit_label(desk: Desk) -> None:
    """Put the cursor into the label field of the inspector."""
    desk.window.edit_label()


def split_view(desk: Desk) -> None:
    """Show two halves beside each other, or one again."""
    desk.window.split.toggle()


def other_half(desk: Desk) -> None:
    """Go on in the other half."""
    desk.window.split.swap()


def reset_layout(desk: Desk) -> None:
    """Put every panel back to its place."""
    desk.window.reset_layout()


def select_all(desk: Desk) -> None:
    """Select every node that is shown."""
    desk.session.select(np.flatnonzero(desk.session.pruned().node_mask).tolist())


def invert_selection(desk: Desk) -> None:
    """Select what is shown and not selected."""
    chosen = set(desk.session.selection)
    shown = np.flatnonzero(desk.session.pruned().node_mask).tolist()
    desk.session.select([node for node in shown if node not in chosen])


def select_none(desk: Desk) -> None:
    """Leave the focus; without one, clear the selection."""
    if desk.session.focus is not None:
        desk.session.set_focus(None)
    else:
        desk.session.select([])


def focus_inputs(desk: Desk) -> None:
    """Step back from all that does not feed the selected nodes."""
    _focus(desk, tr("what feeds {0}"), (True,))


def focus_outputs(desk: Desk) -> None:
    """Step back from all that the selected nodes do not feed."""
    _focus(desk, tr("what {0} feeds"), (False,))


def focus_both(desk: Desk) -> None:
    """Step back from all that neither feeds the selected nodes nor is fed by them."""
    _focus(desk, tr("what feeds {0} and what it feeds"), (True, False))


def _focus(desk: Desk, title: str, ways: tuple[bool, ...]) -> None:
    session = desk.session
    circuit, edges, chosen = session.circuit, session.pruned().edge_mask, list(session.selection)
    inside = np.zeros(len(circuit.nodes), np.bool_)
    kept = np.zeros(len(edges), np.bool_)
    for down in ways:
        found = reached(circuit, edges, chosen, down=down)
        kept |= edges & found[circuit.edges.source] & found[circuit.edges.target]
        inside |= found
    name = session.label(chosen[0]) if len(chosen) == 1 else plural(len(chosen), "node", "nodes")
    session.set_focus(Focus(title.format(name), inside, kept))
    desk.window.show_view("link")


def focus_paths(desk: Desk) -> None:
    """Show the strongest paths between the two selected nodes, and name the strongest."""
    session = desk.session
    circuit, ends = session.circuit, list(session.selection)
    start, end = sorted(ends, key=lambda node: int(stages(circuit.nodes)[node]))
    paths = strongest_paths(circuit, start, end, MOST_PATHS, session.pruned().edge_mask)
    if not paths:
        text = tr("No path of shown edges leads from {0} to {1}.")
        desk.window.say(text.format(session.label(start), session.label(end)))
        return
    inside = np.zeros(len(circuit.nodes), np.bool_)
    kept = np.zeros(len(circuit.edges), np.bool_)
    for path in paths:
        inside[list(path.nodes)] = True
        kept[list(path.edges)] = True
    way = " → ".join(session.label(node) for node in paths[0].nodes)
    shown = tr("{0} strongest paths, {1} of the input").format(
        len(paths), signed_percent(sum(path.share for path in paths))
    )
    title = shown if len(paths) > 1 else tr("the only path of shown edges")
    session.set_focus(Focus(title, inside, kept, is_path=True))
    desk.window.say(tr("{0}: {1}").format(signed_percent(paths[0].share), way))


def has_minimap(desk: Desk) -> bool:
    """Say whether the minimap is shown."""
    return not desk.window.link_graph.minimap.isHidden()


def toggle_minimap(desk: Desk) -> None:
    """Show or hide the minimap of the link graph."""
    minimap = desk.window.link_graph.minimap
    minimap.setVisible(minimap.isHidden())


def set_filter(desk: Desk) -> None:
    """Ask which nodes are shown, in the words of the search."""
    hint = tr("In the words of the search, such as layer:2-5 kind:feature untested.")
    now = desk.session.view().filter
    text = ask_name(desk, tr("Show only"), hint, now, tr("Show"))
    if text:
        query = str(parse_query(text))
        desk.session.set_view(f"filter {query}", filter=query)


def no_filter(desk: Desk) -> None:
    """Show nodes whether they meet the filter or not."""
    desk.session.set_view("no filter", filter="")


def _neighbours(desk: Desk, *, inputs: bool) -> list[int]:
    edges, pruned = desk.session.circuit.edges, desk.session.pruned()
    here, there = (edges.target, edges.source) if inputs else (edges.source, edges.target)
    touched = np.isin(here, desk.session.selection) & pruned.edge_mask
    return [int(node) for node in np.unique(there[touched])]


def select_inputs(desk: Desk) -> None:
    """Select what feeds the selected nodes, among what is shown."""
    desk.session.select(_neighbours(desk, inputs=True))


def select_outputs(desk: Desk) -> None:
    """Select what the selected nodes feed, among what is shown."""
    desk.session.select(_neighbours(desk, inputs=False))


def select_same_feature(desk: Desk) -> None:
    """Select the selected units at every position, among what is shown."""
    nodes = desk.session.circuit.nodes
    _select_alike(desk, np.stack([nodes.kind, nodes.site, nodes.layer, nodes.unit], axis=1))


def select_same_layer(desk: Desk) -> None:
    """Select the layers of the selected nodes, attention and MLP alike, among what is shown."""
    _select_alike(desk, desk.session.circuit.nodes.layer[:, None])


def _select_alike(desk: Desk, traits: NDArray[Any]) -> None:
    """Select the shown nodes that share all traits with a selected one; traits are [n, k]."""
    chosen = list(desk.session.selection)
    _, group = np.unique(traits, axis=0, return_inverse=True)
    alike = np.isin(group.ravel(), group.ravel()[chosen])
    found = np.flatnonzero(alike & desk.session.pruned().node_mask).tolist()
    desk.session.select([*chosen, *(node for node in found if node not in chosen)])


def walk_input(desk: Desk) -> None:
    """Select the shown node that feeds the selected one most."""
    _walk(desk, inputs=True)


def walk_output(desk: Desk) -> None:
    """Select the shown node that the selected one feeds most."""
    _walk(desk, inputs=False)


def _walk(desk: Desk, *, inputs: bool) -> None:
    circuit, node = desk.session.circuit, desk.session.selection[0]
    shown = desk.session.pruned().node_mask
    ends = circuit.edges.source if inputs else circuit.edges.target
    edges = circuit.inputs(node) if inputs else circuit.outputs(node)
    found = (int(ends[edge.index]) for edge in edges)
    best = next((end for end in found if shown[end]), None)
    if best is not None:
        desk.session.select([best])


def show_manual(desk: Desk) -> None:
    """Open the manual beside the window, or bring the open one to the front."""
    from circuitscope.app.dialogs.manual import ManualDialog

    opened = (one for one in desk.window.findChildren(ManualDialog) if one.isVisible())
    dialog = next(opened, None) or ManualDialog(desk)
    dialog.show()
    dialog.raise_()
    dialog.activateWindow()


def start_tour(desk: Desk) -> None:
    """Begin the tour, from the start."""
    from circuitscope.app.tour import begin_tour

    begin_tour(desk.window)


def show_tables(desk: Desk) -> None:
    """Open the graph as tables, beside the work; there is one at a time."""
    from circuitscope.app.dialogs.graph_table import GraphTableDialog

    shown = desk.window.findChild(GraphTableDialog) or GraphTableDialog(desk)
    shown.show()
    shown.activateWindow()


def ask_meaning(_desk: Desk) -> None:
    """Let the next click say what a number means."""
    QWhatsThis.enterWhatsThisMode()


def show_shortcuts(desk: Desk) -> None:
    """List every action and its keys."""
    from circuitscope.app.dialogs.help import ShortcutsDialog

    ShortcutsDialog(desk).open()


def show_about(desk: Desk) -> None:
    """Say which version this is, and where things are kept."""
    from circuitscope.app.dialogs.help import AboutDialog

    AboutDialog(desk).open()


def set_theme(desk: Desk, name: str) -> None:
    """Choose the colours: "system", "light", "dark" or "contrast"."""
    desk.session.preferences.change("appearance", theme=name)


THEMES = (
    ("system", "Follow the system"), ("light", "Light"), ("dark", "Dark"),
    ("contrast", "High contrast"),
)  # fmt: skip


def theme_names() -> list[tuple[str, str]]:
    """Return the themes and what menus call them."""
    return [(name, tr(text)) for name, text in THEMES]
