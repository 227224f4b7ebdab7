"""The one table of actions: menus, toolbar, context menus and the list of shortcuts read it.

An action that cannot be used now is disabled and its tooltip says why; none is ever hidden.
Single-letter shortcuts belong to the canvas, so that typing into a field never triggers one.
"""

from collections.abc import Iterator

from PySide6.QtCore import QObject, Qt
from PySide6.QtGui import QAction, QKeySequence

from circuitscope.app import conditions as when
from circuitscope.app.action import SEPARATOR as SEPARATOR
from circuitscope.app.action import Action as Action
from circuitscope.app.commands import edits, evidence, files, upkeep, views
from circuitscope.app.desk import Desk
from circuitscope.app.dialogs.errors import show_error
from circuitscope.app.drawing_actions import DRAWING_ACTIONS, DRAWING_MENU
from circuitscope.app.theme import icon
from circuitscope.app.words import tr
from circuitscope.core.errors import CircuitScopeError
from circuitscope.session.session import Session

ACTIONS: tuple[Action, ...] = (
    *DRAWING_ACTIONS,
    Action("file.new", "New project", "Start an empty project.",
           files.new_project, ("Ctrl+N",), "file-plus"),
    Action("file.open", "Open…", "Open a project file.",
           files.open_project, ("Ctrl+O",), "folder-open"),
    Action("file.import", "Import graph…",
           "Read a graph file of Neuronpedia or circuit-tracer into the project.",
           files.import_graph, ("Ctrl+Shift+I",), "file-json"),
    Action("file.link", "Use a Neuronpedia link…",
           "Take pins, groups and labels of a link for the imported graph; nothing is fetched.",
           upkeep.use_link, (), "external-link", when.imported_shown),
    Action("file.save", "Save", "Write the project to its file.",
           files.save, ("Ctrl+S",), "save", when.something_to_save),
    Action("file.save_as", "Save as…", "Write the project to another file and go on there.",
           files.save_as, ("Ctrl+Shift+S",), "", when.project_open),
    Action("file.export", "Export figure…", "Write a figure, a page, a graph file or tables.",
           files.export, ("Ctrl+E",), "download", when.circuit_shown),
    Action("file.log", "Who did what…",
           "List traces, imports, edits, kept versions and attachments in order of time.",
           upkeep.show_log, (), "clipboard", when.project_open),
    Action("file.check", "Check a file…",
           "Verify a project file and save what can be read of a damaged one.",
           upkeep.check_file),
    Action("file.compact", "Remove deleted results…",
           "Remove for good what was deleted, with its drawings and attachments.",
           upkeep.compact, (), "", when.something_deleted),
    Action("file.close", "Close project", "Close the project and return to the start page.",
           files.close_project, ("Ctrl+W",), "", when.project_open),
    Action("file.quit", "Quit", "Close the window; unsaved changes are asked about.",
           views.quit_window, ("Ctrl+Q",)),
    Action("edit.undo", "Undo", "Take the last change of the drawing back.",
           edits.undo, ("Ctrl+Z",), "undo-2", when.can_undo),
    Action("edit.redo", "Redo", "Do the change undone last once more.",
           edits.redo, ("Ctrl+Shift+Z", "Ctrl+Y"), "redo-2", when.can_redo),
    Action("edit.find", "Find…", "Find nodes by label, token, layer, kind or id.",
           views.find, ("Ctrl+F",), "search", when.circuit_shown),
    Action("edit.find_next", "Find next", "Go to the next match of the last search.",
           views.find_next, ("F3",), "", when.circuit_shown),
    Action("edit.find_previous", "Find previous", "Go to the match before.",
           views.find_previous, ("Shift+F3",), "", when.circuit_shown),
    Action("edit.commands", "Command palette…", "Find any action by a few letters, and do it.",
           views.show_commands, ("Ctrl+Shift+P", "Ctrl+K")),
    Action("edit.preferences", "Preferences…",
           "Choose colours, text size, the engine and what is done unasked.",
           views.show_preferences, ("Ctrl+,",), "settings"),
    Action("edit.select_all", "Select all shown", "Select every node that is shown.",
           views.select_all, ("Ctrl+A",), "", when.circuit_shown, "canvas"),
    Action("edit.invert", "Invert selection", "Select what is shown and not selected.",
           views.invert_selection, ("Ctrl+I",), "", when.circuit_shown, "canvas"),
    Action("edit.select_inputs", "Select inputs", "Select what feeds the selected nodes.",
           views.select_inputs, ("Shift+[",), "", when.nodes_selected, "canvas"),
    Action("edit.select_outputs", "Select outputs", "Select what the selected nodes feed.",
           views.select_outputs, ("Shift+]",), "", when.nodes_selected, "canvas"),
    Action("edit.same_feature", "Select same feature",
           "Select the selected features wherever else they are active.",
           views.select_same_feature, ("Ctrl+Shift+A",), "", when.nodes_selected, "canvas"),
    Action("edit.same_layer", "Select same layer",
           "Select what is shown in the layers of the selected nodes.",
           views.select_same_layer, ("Ctrl+Shift+L",), "", when.nodes_selected, "canvas"),
    Action("edit.select_none", "Select nothing", "Leave the focus, then clear the selection.",
           views.select_none, ("Escape",), "", when.something_to_leave, "canvas"),
    Action("edit.delete_circuit", "Delete circuit",
           "Take the circuit out of the project; undo brings it back.",
           edits.delete_circuit, (), "trash-2", when.circuit_shown),
    Action("view.fit", "Fit all", "Show the whole graph.",
           views.fit, ("Ctrl+0", "Home"), "maximize", when.circuit_shown),
    Action("view.frame", "Frame selection", "Show the selected nodes as large as they fit.",
           views.frame, ("F",), "locate-fixed", when.nodes_selected, "canvas"),
    Action("view.link_graph", "Link graph", "Show layers by tokens.",
           views.show_link_graph, ("Ctrl+1",), "", when.circuit_shown),
    Action("view.circuit", "Circuit", "Show the pinned and grouped part as a diagram.",
           views.show_circuit, ("Ctrl+2",), "", when.circuit_shown),
    Action("view.table", "Graph as tables…",
           "List the shown nodes and edges; for keyboards and screen readers.",
           views.show_tables, ("Ctrl+Shift+B",), "", when.circuit_shown),
    Action("view.tighten", "Fewer nodes", "Lower the influence threshold.",
           edits.tighten, (",",), "", when.circuit_shown, "canvas"),
    Action("view.loosen", "More nodes", "Raise the influence threshold.",
           edits.loosen, (".",), "", when.circuit_shown, "canvas"),
    Action("view.errors", "Unexplained parts", "Show what the dictionaries do not explain.",
           edits.toggle_errors, ("E",), "", when.has_errors, "canvas",
           lambda desk: desk.session.view().show_errors),
    Action("view.biases", "Biases and positions", "Show constants as nodes.",
           edits.toggle_biases, ("B",), "", when.has_biases, "canvas",
           lambda desk: desk.session.view().show_biases),
    Action("view.attention", "Attention heads and features",
           "Show the nodes of attention; what is left out counts under “hidden: why?”.",
           edits.toggle_attention, ("Shift+A",), "", when.circuit_shown, "canvas",
           lambda desk: edits.shows(desk.session, "attention")),
    Action("view.mlp", "MLP features and neurons",
           "Show the nodes of MLPs; what is left out counts under “hidden: why?”.",
           edits.toggle_mlp, ("Shift+M",), "", when.circuit_shown, "canvas",
           lambda desk: edits.shows(desk.session, "mlp")),
    Action("view.minimap", "Minimap", "Show or hide the whole link graph in a corner.",
           views.toggle_minimap, ("M",), "", when.circuit_shown, "canvas", views.has_minimap),
    Action("view.focus_inputs", "Focus on inputs", "Show only what feeds the selected nodes.",
           views.focus_inputs, ("I",), "", when.nodes_selected, "canvas"),
    Action("view.focus_outputs", "Focus on outputs", "Show only what the selected nodes feed.",
           views.focus_outputs, ("U",), "", when.nodes_selected, "canvas"),
    Action("view.focus_both", "Focus on both",
           "Show only what feeds the selected nodes and what they feed.",
           views.focus_both, ("Shift+I",), "", when.nodes_selected, "canvas"),
    Action("view.paths", "Paths between two nodes",
           "Show the strongest paths between the two selected nodes, with their share.",
           views.focus_paths, ("Shift+P",), "", when.two_selected, "canvas"),
    Action("view.filter", "Show only…",
           "Show only nodes that meet conditions, in the words of the search.",
           views.set_filter, ("Ctrl+Shift+F",), "", when.circuit_shown),
    Action("view.no_filter", "Show all again", "Take the filter away.",
           views.no_filter, (), "", when.filtered),
    Action("view.lay_out", "Lay out again", "Forget the places given by hand.",
           edits.lay_out_again, (), "", when.something_placed),
    Action("trace.new", "New trace…", "Type a sentence, choose a word, compute its circuit.",
           files.trace, ("Ctrl+T",), "play"),
    Action("trace.model", "Choose model…",
           "Look into a model's folder or the Hugging Face cache, and load it.",
           files.choose_model, (), "cpu"),
    Action("trace.lens", "Lens…", "See what the model would say after each layer.",
           files.lens, ("Ctrl+L",), "layers"),
    Action("trace.logits", "Logits by component…",
           "Read what heads, MLPs and words add to a logit, and keep it in the project.",
           evidence.logits, ("Ctrl+Alt+L",), ""),
    Action("trace.words", "Which words decide?…",
           "Weigh the words and phrases of a classifier's sentence.",
           files.weigh_words, ("Ctrl+Shift+W",), "type"),
    Action("trace.heads", "Compare by heads…",
           "Set the circuit beside one of contextual decomposition, head by head.",
           files.compare_heads, (), "git-compare", when.heads_comparable),
    Action("trace.try", "Try it on the model…",
           "Switch the selected nodes off, or change them, and see what the model says then.",
           files.try_changes, ("T",), "scissors", when.changeable_selected, "canvas"),
    Action("trace.collect", "Collect evidence…",
           "Run a corpus and keep for every feature when it fires, with examples and labels.",
           evidence.collect, ("Ctrl+Alt+E",), "database"),
    Action("trace.further", "Trace further", "Compute what feeds the selected node.",
           files.trace_further, (), "", when.further_selected),
    Action("trace.why", "Why did it look there?…",
           "Show the pairs of sources behind the attention that feeds the selected node.",
           files.why_there, ("W",), "", when.attention_selected, "canvas"),
    Action("trace.cancel", "Cancel job", "Stop the job that is running.",
           files.cancel_job, ("Ctrl+.",), "square", when.job_running),
    Action("verify.test", "Test on the model…",
           "Change the selection in the unfrozen model; what follows becomes badges.",
           evidence.test_on_model, ("V",), "microscope", when.circuit_shown, "canvas"),
    Action("verify.measure", "Measure the circuit…",
           "Measure over prompts whether the circuit is faithful, complete and minimal.",
           evidence.measure, ("Ctrl+M",), "", when.circuit_shown),
    Action("verify.compare", "Compare with…",
           "Lay two circuits over each other, and run each on the other's prompt.",
           evidence.compare, ("Ctrl+Alt+D",), "git-compare", when.two_circuits),
    Action("verify.sweep", "Sweep of patching…",
           "Patch every layer and word, or head, of another prompt; cells become nodes.",
           evidence.sweep, ("Ctrl+Shift+M",)),
    Action("verify.untested", "Select untested", "Select the shown nodes without a test.",
           evidence.select_untested, ("Shift+V",), "", when.circuit_shown, "canvas"),
    Action("graph.group", "Group", "Put the selected nodes into a group with a name.",
           edits.group, ("G",), "group", when.nodes_selected, "canvas"),
    Action("graph.ungroup", "Ungroup", "Dissolve the groups of the selected nodes.",
           edits.ungroup, ("Shift+G",), "ungroup", when.grouped_selected, "canvas"),
    Action("graph.open_group", "Unfold or fold group", "Show a group's members, or one box.",
           edits.toggle_open, ("O",), "", when.grouped_selected, "canvas"),
    Action("graph.label", "Label", "Give the selected node a name of your own.",
           views.edit_label, ("L", "F2"), "tag", when.one_selected, "canvas"),
    Action("graph.unlabel", "Remove label", "Return to the automatic label.",
           edits.remove_label, (), "", when.labelled_selected),
    Action("graph.pin", "Pin", "Keep the selected nodes in the circuit; again to unpin.",
           edits.pin, ("P",), "pin", when.nodes_selected, "canvas"),
    Action("graph.hide", "Hide", "Take the selected nodes out of view; nothing is deleted.",
           edits.hide, ("H", "Delete"), "eye-off", when.nodes_selected, "canvas"),
    Action("graph.show_all", "Show hidden nodes", "Bring back what was hidden by hand.",
           edits.show_all, ("Alt+H",), "eye", when.something_hidden),
    Action("graph.strongest_input", "Go to strongest input", "Walk to what feeds it most.",
           views.walk_input, ("[",), "", when.one_selected, "canvas"),
    Action("graph.strongest_output", "Go to strongest output", "Walk to what it feeds most.",
           views.walk_output, ("]",), "", when.one_selected, "canvas"),
    Action("window.split", "Split view",
           "Show two circuits or drawings beside each other, selection linked; again for one.",
           views.split_view, ("Ctrl+\\",), "", when.circuit_shown),
    Action("window.other_half", "Other half", "Go on in the other half of a split view.",
           views.other_half, ("F6",), "", when.circuit_shown),
    Action("window.reset", "Reset layout", "Put every panel back to its place.",
           views.reset_layout),
    Action("help.manual", "Manual", "How to trace, read, edit and export a circuit.",
           views.show_manual, ("F1",), "circle-help"),
    Action("help.number", "What does this number mean?",
           "Then click a number or a heading; its menu asks the same.",
           views.ask_meaning, ("Shift+F1",)),
    Action("help.tour", "Tour", "Six steps on the bundled example, from opening to a figure.",
           views.start_tour, (), "route"),
    Action("help.shortcuts", "Keyboard shortcuts", "List every action and its keys.",
           views.show_shortcuts, ("Ctrl+?",), "keyboard"),
    Action("help.about", "About CircuitScope", "Version, licences and where things are kept.",
           views.show_about, (), "info"),
)  # fmt: skip

MENUS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("File", ("file.new", "file.open", "file.recent", SEPARATOR, "file.import", "file.link",
              SEPARATOR,
              "file.save", "file.save_as", SEPARATOR, "file.export", SEPARATOR,
              "file.log", "file.check", "file.compact", SEPARATOR,
              "file.close", "file.quit")),
    ("Edit", ("edit.undo", "edit.redo", SEPARATOR, "edit.find", "edit.find_next",
              "edit.find_previous", "edit.commands", SEPARATOR,
              "edit.select_all", "edit.invert", "edit.select_inputs", "edit.select_outputs",
              "edit.same_feature", "edit.same_layer",
              "edit.select_none", SEPARATOR, "edit.delete_circuit", SEPARATOR,
              "edit.preferences")),
    ("View", ("view.link_graph", "view.circuit", "view.table", SEPARATOR,
              "view.fit", "view.frame", "view.minimap", SEPARATOR,
              "view.tighten", "view.loosen", "view.errors", "view.biases",
              "view.attention", "view.mlp", SEPARATOR,
              "view.filter", "view.no_filter", SEPARATOR, "view.focus_inputs", "view.focus_outputs",
              "view.focus_both", "view.paths", SEPARATOR,
              "view.lay_out", SEPARATOR, "view.theme")),
    ("Trace", ("trace.new", "trace.again",
               "trace.further", "trace.why", "trace.try", "trace.lens", "trace.logits",
               "trace.words", "trace.heads", SEPARATOR, "trace.collect", SEPARATOR,
               "trace.model", "trace.cancel")),
    ("Verify", ("verify.test", "verify.untested", "verify.measure",
                "verify.compare", "verify.sweep")),
    ("Drawing", DRAWING_MENU),
    ("Graph", ("graph.group", "graph.ungroup", "graph.open_group", SEPARATOR, "graph.label",
               "graph.unlabel", SEPARATOR, "graph.pin", "graph.hide", "graph.show_all", SEPARATOR,
               "graph.strongest_input", "graph.strongest_output")),
    ("Window", ("window.panels", SEPARATOR, "window.next_tab", "window.previous_tab",
                "window.close_tab", SEPARATOR, "window.split", "window.other_half", SEPARATOR,
                "window.reset")),
    ("Help", ("help.manual", "help.number", "help.tour", "help.shortcuts", SEPARATOR,
              "help.about")),
)  # fmt: skip
SUBMENUS = frozenset({"file.recent", "view.theme", "window.panels"})
"""Entries of `MENUS` that the main window fills itself."""


def by_id(action_id: str) -> Action:
    """Return an action of the table."""
    return next(action for action in ACTIONS if action.id == action_id)


def walk_menus() -> Iterator[tuple[str, str]]:
    """Yield menu title and action id of every entry that is an action."""
    for title, entries in MENUS:
        for entry in entries:
            if entry != SEPARATOR and entry not in SUBMENUS:
                yield title, entry


def make_actions(desk: Desk, parent: QObject) -> None:
    """Make the window's actions from the table and put them into `desk.actions`."""
    for action in ACTIONS:
        made = QAction(tr(action.text), parent)
        made.setObjectName(action.id)
        made.setShortcuts([QKeySequence(key) for key in action.keys])
        made.setShortcutContext(
            Qt.ShortcutContext.WidgetShortcut
            if action.on == "canvas"
            else Qt.ShortcutContext.WindowShortcut
        )
        made.setStatusTip(tr(action.help))
        made.setMenuRole(QAction.MenuRole.NoRole)
        if action.picture:
            made.setIcon(icon(action.picture, desk.palette))
        made.setCheckable(action.checked is not None)
        made.triggered.connect(lambda *_, action=action: run(desk, action))
        desk.actions[action.id] = made


def run(desk: Desk, action: Action) -> None:
    """Carry an action out; what the user can cause is told in a dialog."""
    try:
        action.call(desk)
    except CircuitScopeError as error:
        show_error(desk.window, error)
    desk.window.refresh()


def refresh_actions(desk: Desk) -> None:
    """Enable what can be used now; tooltips say what each does, or why it cannot be used."""
    session = desk.session
    for action in ACTIONS:
        made = desk.actions.get(action.id)
        if made is None:
            continue
        reason = action.needs(session)
        made.setEnabled(not reason)
        keys = f"  ({made.shortcut().toString(QKeySequence.SequenceFormat.NativeText)})"
        tip = f"{tr(action.help)}{keys if action.keys else ''}"
        made.setToolTip(f"{tip}\n{reason}" if reason else tip)
        if action.checked is not None:
            made.setChecked(session.circuit is not None and action.checked(desk))
    for action_id, words, text in (
        ("edit.undo", tr("Undo {0}"), session.undo_text if session.project else ""),
        ("edit.redo", tr("Redo {0}"), session.redo_text if session.project else ""),
    ):
        if made := desk.actions.get(action_id):
            name = tr(by_id(action_id).text)
            made.setText(words.format(_lower_first(text)) if text else name)
    if made := desk.actions.get("graph.pin"):
        made.setText(tr("Unpin") if _all_pinned(session) else tr(by_id("graph.pin").text))


def _all_pinned(session: Session) -> bool:
    keys, drawing = session.selected_keys(), session.drawing
    if drawing is None or not keys:
        return False
    return all(drawing.row("pin", key) is not None for key in keys)


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
