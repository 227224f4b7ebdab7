"""What a user can do to a drawing: functions that return an Edit and change nothing.

`drawing.commit(verbs.group(drawing, keys, "Texas"))` does it. Every edit's label is the text
that the Edit menu shows after "Undo".

Keys are `NodeKey`s or their text; group ids, note ids and sketch ids are text. Verbs on
findings (`rename_finding`, `move_finding`, `delete_finding`) belong to `project.contents`.
"""

import math
import uuid
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from circuitscope.core.binding import Binding
from circuitscope.core.errors import ProjectError
from circuitscope.core.nesting import inside, parents_of, upwards
from circuitscope.core.rows import GROUP_COLORS, VIEW_DEFAULTS, Row, RowKey, Rows
from circuitscope.project.edit import Edit, change
from circuitscope.project.wording import Key, count, names_of, shown, what
from circuitscope.project.wording import describe as describe
from circuitscope.project.wording import short as short

if TYPE_CHECKING:
    from circuitscope.project.drawing import Drawing
    from circuitscope.project.file import ProjectFile

_VIEW_NAMES = {
    "node_threshold": "Influence",
    "edge_threshold": "Edges",
    "show_errors": "Error nodes",
    "show_biases": "Biases",
    "filter": "Filter",
}


def label(drawing: "Drawing", key: Key, text: str, source: str = "person") -> Edit:
    """Name a node; an empty text takes the name away.

    Args:
        drawing: Where to.
        key: The node.
        text: Its new label.
        source: "person", "machine" or "imported".
    """
    if not text.strip():
        return unlabel(drawing, key)
    return _set(
        drawing, f"Label {describe(key)} “{short(text)}”", "label", key, text=text, source=source
    )


def unlabel(drawing: "Drawing", key: Key) -> Edit:
    """Take a node's label away, so that its automatic label shows again."""
    return _remove(drawing, f"Remove label of {describe(key)}", "label", [key])


def group(
    drawing: "Drawing",
    keys: Iterable[Key],
    label: str,
    color: str | None = None,
    group_id: str | None = None,
    source: str = "person",
) -> Edit:
    """Put nodes into a new group; nodes of other groups move, groups left empty go.

    Args:
        drawing: Where to.
        keys: The members, at least one; ids of groups nest these inside the new one.
        label: The group's name.
        color: One of `GROUP_COLORS`; None takes the one used least.
        group_id: Id of the new group; None makes one.
        source: "machine" for a suggestion; renaming the group makes it the person's.

    Raises:
        ProjectError: There is nothing to group.
    """
    names, within = _nodes_and_groups(drawing, keys)
    if not names and not within:
        raise ProjectError("There is nothing to group.", hint="Choose one or more nodes first.")
    group_id = group_id or new_id()
    after: Rows = _moved(drawing, names, group_id, within)
    row: dict[str, Any] = {
        "label": label, "color": color or _next_color(drawing), "open": False,
    }  # fmt: skip
    groups = drawing.of_kind("group")
    around = {parents_of(groups).get(name, "") for name in within}
    if within and not names and len(around) == 1 and (above := around.pop()):
        row["parent"] = above
    if source != "person":
        row["source"] = source
    after[_key(drawing, "group", group_id)] = row
    for name in within:
        after[_key(drawing, "group", name)] = {**groups[name], "parent": group_id}
    text = f"Group {count([*names, *within], 'item' if within else 'node')}"
    return change(text, drawing.rows, after)


def ungroup(drawing: "Drawing", group_id: str) -> Edit:
    """Dissolve a group; what was in it joins the group around it, if there is one."""
    row = _existing(drawing, "group", group_id)
    groups = drawing.of_kind("group")
    parents = parents_of(groups)
    above = parents.get(group_id, "")
    up = {"group": above} if above else None
    gone: Rows = {_key(drawing, "group", group_id): None, _key(drawing, "place", group_id): None}
    gone.update({_key(drawing, "member", name): up for name in members(drawing, group_id)})
    for name, parent in parents.items():
        if parent == group_id:
            rest = {field: value for field, value in groups[name].items() if field != "parent"}
            gone[_key(drawing, "group", name)] = {**rest, "parent": above} if above else rest
    return change(f"Ungroup “{short(row['label'])}”", drawing.rows, gone)


def rename_group(drawing: "Drawing", group_id: str, label: str) -> Edit:
    """Give a group another name."""
    row = _existing(drawing, "group", group_id)
    text = f"Rename group “{short(row['label'])}” to “{short(label)}”"
    kept = {name: value for name, value in row.items() if name != "source"}
    return _set(drawing, text, "group", group_id, **{**kept, "label": label})


def color_group(drawing: "Drawing", group_id: str, color: str) -> Edit:
    """Give a group another colour."""
    row = _existing(drawing, "group", group_id)
    text = f"Colour “{short(row['label'])}” {color}"
    return _set(drawing, text, "group", group_id, **{**row, "color": color})


def open_group(drawing: "Drawing", group_id: str, open: bool) -> Edit:
    """Unfold a group into its members, or fold it again."""
    row = _existing(drawing, "group", group_id)
    text = f"{'Unfold' if open else 'Fold'} “{short(row['label'])}”"
    return _set(drawing, text, "group", group_id, **{**row, "open": open})


def add_to_group(drawing: "Drawing", group_id: str, keys: Iterable[Key]) -> Edit:
    """Put more nodes into a group; groups left empty go."""
    row = _existing(drawing, "group", group_id)
    names = names_of(keys)
    text = f"Add {count(names, 'node')} to “{short(row['label'])}”"
    return change(text, drawing.rows, _moved(drawing, names, group_id))


def remove_from_group(drawing: "Drawing", keys: Iterable[Key]) -> Edit:
    """Take nodes out of their groups; groups left empty go."""
    names = names_of(keys)
    return change(f"Take {count(names, 'node')} out", drawing.rows, _moved(drawing, names, None))


def pin(drawing: "Drawing", *keys: Key | Iterable[Key]) -> Edit:
    """Pin nodes, so that they show whatever the thresholds."""
    return _mark(drawing, "Pin", "pin", names_of(keys))


def unpin(drawing: "Drawing", *keys: Key | Iterable[Key]) -> Edit:
    """Unpin nodes."""
    return _remove(drawing, f"Unpin {what(keys)}", "pin", names_of(keys))


def hide(drawing: "Drawing", *keys: Key | Iterable[Key]) -> Edit:
    """Hide nodes."""
    return _mark(drawing, "Hide", "hidden", names_of(keys))


def unhide(drawing: "Drawing", *keys: Key | Iterable[Key]) -> Edit:
    """Show nodes that were hidden by hand."""
    return _remove(drawing, f"Show {what(keys)}", "hidden", names_of(keys))


def unhide_all(drawing: "Drawing") -> Edit:
    """Show every node that was hidden by hand."""
    hidden = drawing.of_kind("hidden")
    return _remove(drawing, f"Show {count(hidden, 'hidden node')}", "hidden", hidden)


def place(
    drawing: "Drawing",
    places: Mapping[Key, tuple[float, float]],
    merge_key: str | None = None,
) -> Edit:
    """Move nodes or groups.

    Args:
        drawing: Where to.
        places: New position by node key or group id, x and y in points, top left is 0, 0.
        merge_key: Same text for all steps of one drag, which then undoes at once.
    """
    after: Rows = {
        _key(drawing, "place", key): {"x": _number(x), "y": _number(y)}
        for key, (x, y) in places.items()
    }
    text = f"Move {what(list(places), 'item')}"
    return change(text, drawing.rows, after, merge_key)


def unplace(drawing: "Drawing", *keys: Key | Iterable[Key]) -> Edit:
    """Let the layout place these again; with no keys, everything."""
    chosen = names_of(keys) or list(drawing.of_kind("place"))
    text = f"Lay out {what(keys, 'item')} again" if keys else "Lay out everything again"
    return _remove(drawing, text, "place", chosen)


def set_view(
    drawing: "Drawing", view: str = "link_graph", merge_key: str | None = None, **fields: Any
) -> Edit:
    """Change settings of a view, such as its thresholds.

    Args:
        drawing: Where to.
        view: "link_graph" or "circuit".
        merge_key: Same text for all steps of one drag of a slider; None never merges.
        fields: node_threshold, edge_threshold, show_errors, show_biases, filter.
    """
    row = dict(drawing.row("view", view) or {})
    before = {**VIEW_DEFAULTS, **row}
    text = ", ".join(
        f"{_VIEW_NAMES.get(name, name)} {shown(before.get(name))} → {shown(value)}"
        for name, value in fields.items()
    )
    return _set(drawing, text or "Change view", "view", view, merge_key, **{**row, **fields})


def note(
    drawing: "Drawing",
    text: str,
    at: tuple[float, float] = (0.0, 0.0),
    width: float = 200.0,
    note_id: str | None = None,
    about: Binding | str = "",
) -> Edit:
    """Write a note on the drawing, or change the one that `note_id` names.

    Args:
        drawing: Where to.
        text: Markdown.
        at: Top left corner, x and y in points.
        width: In points.
        note_id: An existing note keeps its id; None makes a new note.
        about: What it is bound to: nothing (the circuit), a node, a group, an edge.
    """
    verb = "Change" if note_id and drawing.row("note", note_id) else "Add"
    words = short(text.lstrip("# "))
    return _set(
        drawing, f"{verb} note “{words}”", "note", note_id or new_id(),
        text=text, x=_number(at[0]), y=_number(at[1]), width=_number(width), about=str(about),
    )  # fmt: skip


def remove_note(drawing: "Drawing", note_id: str) -> Edit:
    """Take a note away."""
    row = _existing(drawing, "note", note_id)
    return _remove(drawing, f"Remove note “{short(row['text'])}”", "note", [note_id])


def sketch_node(
    drawing: "Drawing", label: str, at: tuple[float, float], sketch_id: str | None = None
) -> Edit:
    """Draw a node by hand; it is shown and exported as such."""
    return _set(
        drawing, f"Draw node “{short(label)}”", "sketch_node", sketch_id or new_id(),
        label=label, x=_number(at[0]), y=_number(at[1]),
    )  # fmt: skip


def sketch_edge(
    drawing: "Drawing", source: Key, target: Key, label: str = "", sketch_id: str | None = None
) -> Edit:
    """Draw an edge by hand between nodes, groups or sketched nodes."""
    ends = _called(drawing, source), _called(drawing, target)
    return _set(
        drawing, f"Draw edge {ends[0]} to {ends[1]}", "sketch_edge",
        sketch_id or new_id(), source=str(source), target=str(target), label=label,
    )  # fmt: skip


def remove_sketch(drawing: "Drawing", sketch_id: str) -> Edit:
    """Erase a node or an edge drawn by hand, with the sketched edges that end on it."""
    gone: Rows = {
        _key(drawing, kind, sketch_id): None
        for kind in ("sketch_node", "sketch_edge")
        if drawing.row(kind, sketch_id)
    }
    for name, row in drawing.of_kind("sketch_edge").items():
        if sketch_id in (row["source"], row["target"]):
            gone[_key(drawing, "sketch_edge", name)] = None
    return change("Erase sketch", drawing.rows, gone)


def adopt(drawing: "Drawing", rows: Mapping[RowKey, Row], menu_text: str) -> Edit:
    """Take rows over from elsewhere: an imported graph, or the circuit this one grew from.

    Args:
        drawing: Where to; its own rows of the same kinds and ids are replaced.
        rows: Rows of any one drawing; their circuit id is exchanged for this one's.
        menu_text: What the Edit menu calls it, such as "Import labels and groups".
    """
    after: Rows = {_key(drawing, key.kind, key.id): row for key, row in rows.items()}
    return change(menu_text, drawing.rows, after)


def rename_finding(project: "ProjectFile", finding_id: str, name: str) -> Edit:
    """Give a finding another name; commit it to `project.contents`.

    Raises:
        ProjectError: The name is empty or another finding has it.
    """
    name = name.strip()
    now = project.finding(finding_id).name
    taken = {info.name for info in project.findings() if info.id != finding_id}
    if not name or name in taken:
        problem = f"Another result is called {name!r}." if name else "A result needs a name."
        raise ProjectError(
            problem, kept=f"{now!r} keeps its name.", hint="Choose a name that is not taken."
        )
    text = f"Rename “{short(now)}” to “{short(name)}”"
    return _set(project.contents, text, "name", finding_id, text=name)


def move_finding(project: "ProjectFile", finding_id: str, index: int) -> Edit:
    """Put a finding at another place of the list; commit it to `project.contents`."""
    moved = project.finding(finding_id)
    ids = [info.id for info in project.findings() if info.id != finding_id]
    ids.insert(index, finding_id)
    after: Rows = {
        _key(project.contents, "order", name): {"index": place} for place, name in enumerate(ids)
    }
    return change(f"Move “{short(moved.name)}”", project.contents.rows, after)


def delete_finding(project: "ProjectFile", *finding_ids: str) -> Edit:
    """Flag findings as deleted; undo brings them back. Commit it to `project.contents`."""
    infos = [project.finding(finding_id) for finding_id in finding_ids]
    things = f"“{short(infos[0].name)}”" if len(infos) == 1 else count(infos, "result")
    after: Rows = {_key(project.contents, "deleted", name): {} for name in finding_ids}
    return change(f"Delete {things}", project.contents.rows, after)


def project_note(project: "ProjectFile", text: str, note_id: str = "project") -> Edit:
    """Set a note of the whole project, Markdown; empty removes it. Commit to `contents`."""
    if text:
        return _set(project.contents, "Edit project note", "text", note_id, text=text)
    return _remove(project.contents, "Remove project note", "text", [note_id])


def members(drawing: "Drawing", group_id: str) -> list[str]:
    """Return the keys of a group's members, in order of joining."""
    rows = drawing.of_kind("member")
    return [name for name, row in rows.items() if row.get("group") == group_id]


def nodes_in(drawing: "Drawing", group_id: str) -> list[str]:
    """Return the keys of all nodes of a group, those of the groups inside it included."""
    within = inside(group_id, parents_of(drawing.of_kind("group")))
    rows = drawing.of_kind("member")
    return [name for name, row in rows.items() if row.get("group") in within]


def new_id() -> str:
    """Return an id for a group, note or sketch that no other one has."""
    return uuid.uuid4().hex[:12]


def _called(drawing: "Drawing", key: Key) -> str:
    """Name a node, a group or a sketch for a menu."""
    for kind in ("group", "sketch_node"):
        if (row := drawing.row(kind, key)) is not None:
            return f"“{short(str(row['label']), 20)}”"
    return describe(key)


def _number(value: float) -> float:
    number = round(float(value), 3)
    assert math.isfinite(number), "a place is not a number"
    return number


def _key(drawing: "Drawing", kind: str, key: Key) -> RowKey:
    return RowKey(drawing.circuit_id, kind, str(key))


def _set(
    drawing: "Drawing",
    menu_text: str,
    kind: str,
    key: Key,
    merge_key: str | None = None,
    /,
    **fields: Any,
) -> Edit:
    return change(menu_text, drawing.rows, {_key(drawing, kind, key): fields}, merge_key)


def _mark(drawing: "Drawing", verb: str, kind: str, names: list[str]) -> Edit:
    return change(
        f"{verb} {what(names)}", drawing.rows, {_key(drawing, kind, name): {} for name in names}
    )


def _remove(drawing: "Drawing", text: str, kind: str, keys: Iterable[Key]) -> Edit:
    return change(text, drawing.rows, {_key(drawing, kind, key): None for key in keys})


def _existing(drawing: "Drawing", kind: str, name: str) -> Row:
    row = drawing.row(kind, name)
    if row is None:
        raise ProjectError(
            f"There is no {kind} {name!r} in this drawing.", kept="The drawing is unchanged."
        )
    return row


def _nodes_and_groups(drawing: "Drawing", keys: Iterable[Key]) -> tuple[list[str], list[str]]:
    """Return the nodes among some keys, and the groups; nodes inside these groups are left out."""
    names, groups = names_of(keys), drawing.of_kind("group")
    within = [name for name in names if name in groups]
    covered = {key for name in within for key in nodes_in(drawing, name)}
    return [name for name in names if name not in groups and name not in covered], within


def _moved(
    drawing: "Drawing", names: list[str], group_id: str | None, kept: Iterable[str] = ()
) -> Rows:
    rows = drawing.of_kind("member")
    after: Rows = {
        _key(drawing, "member", name): None if group_id is None else {"group": group_id}
        for name in names
    }
    parents, nested = parents_of(drawing.of_kind("group")), set(kept)
    leaving = [rows[name]["group"] for name in names if name in rows]
    leaving += [parents[name] for name in nested if name in parents]
    gone: set[str] = set()
    # From the inside out: a group goes when all in it have left.
    for old in (group for first in leaving for group in upwards(first, parents)):
        stays = {name for name, above in parents.items() if above == old} - gone - nested
        if old != group_id and not stays and not set(members(drawing, old)) - set(names):
            gone.add(old)
    for old in gone:
        after[_key(drawing, "group", old)] = None
        after[_key(drawing, "place", old)] = None
    return after


def _next_color(drawing: "Drawing") -> str:
    used = [row.get("color") for row in drawing.of_kind("group").values()]
    return min(GROUP_COLORS, key=used.count)
