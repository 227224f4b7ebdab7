import pytest

from circuitscope.core.errors import ProjectError
from circuitscope.core.keys import NodeKey
from circuitscope.project import verbs
from circuitscope.project.drawing import Drawing
from circuitscope.project.file import ProjectFile

CITY, FACT, SAE = "token/embed/-1/6/8", "feature/mlp_out/0/7/214", "feature/attn_out/0/7/31"


def test_group_moves_members_and_drops_groups_left_empty(drawing: Drawing) -> None:
    first = drawing.group([CITY, FACT], "Texas")
    drawing.place({first: (1, 2)})
    second = drawing.group([NodeKey.parse(FACT), SAE], "facts")
    assert verbs.members(drawing, first) == [CITY]
    assert verbs.members(drawing, second) == [FACT, SAE]
    drawing.commit(verbs.add_to_group(drawing, second, [CITY]))
    assert list(drawing.of_kind("group")) == [second]
    assert not drawing.of_kind("place")
    drawing.undo()
    assert verbs.members(drawing, first) == [CITY]
    assert drawing.row("place", first) == {"x": 1.0, "y": 2.0}
    drawing.commit(verbs.remove_from_group(drawing, [FACT, SAE]))
    assert list(drawing.of_kind("group")) == [first]


def test_groups_take_colours_in_turn(drawing: Drawing) -> None:
    ids = [drawing.group([key], key) for key in (CITY, FACT, SAE)]
    colors = [drawing.of_kind("group")[name]["color"] for name in ids]
    assert colors == list(verbs.GROUP_COLORS[:3])
    drawing.commit(verbs.ungroup(drawing, ids[0]))
    again = drawing.group([CITY], "again")
    assert drawing.of_kind("group")[again]["color"] == verbs.GROUP_COLORS[0]


@pytest.mark.parametrize("verb", [verbs.pin, verbs.hide, verbs.unpin, verbs.unhide, verbs.unplace])
def test_keys_may_come_one_by_one_or_as_a_list(drawing: Drawing, verb) -> None:
    drawing.pin(CITY, FACT)
    drawing.hide(CITY, FACT)
    drawing.place({CITY: (0, 0), FACT: (1, 1)})
    one, other = verb(drawing, SAE, CITY), verb(drawing, [SAE, NodeKey.parse(CITY)])
    assert one == other


def test_menu_texts(drawing: Drawing) -> None:
    group_id = drawing.group([CITY, FACT, SAE], "Texas")
    drawing.commit(verbs.note(drawing, "look\nhere", note_id="n"))
    drawing.hide(CITY, FACT)
    texts = {
        verbs.label(drawing, FACT, "Texas").label: "Label L0 #214 “Texas”",
        verbs.label(drawing, FACT, " ").label: "Remove label of L0 #214",
        verbs.group(drawing, [CITY, FACT, SAE], "x").label: "Group 3 nodes",
        verbs.group(drawing, [CITY], "x").label: "Group 1 node",
        verbs.ungroup(drawing, group_id).label: "Ungroup “Texas”",
        verbs.rename_group(drawing, group_id, "US").label: "Rename group “Texas” to “US”",
        verbs.color_group(drawing, group_id, "rose").label: "Colour “Texas” rose",
        verbs.open_group(drawing, group_id, open=True).label: "Unfold “Texas”",
        verbs.add_to_group(drawing, group_id, [CITY]).label: "Add 1 node to “Texas”",
        verbs.pin(drawing, CITY, FACT).label: "Pin 2 nodes",
        verbs.unhide_all(drawing).label: "Show 2 hidden nodes",
        verbs.place(drawing, {group_id: (0, 0), CITY: (1, 1)}).label: "Move 2 items",
        verbs.unplace(drawing).label: "Lay out everything again",
        verbs.set_view(drawing, show_errors=False).label: "Error nodes on → off",
        verbs.note(drawing, "x", note_id="n").label: "Change note “x”",
        verbs.remove_note(drawing, "n").label: "Remove note “look here”",
        verbs.sketch_node(drawing, "idea", (0, 0)).label: "Draw node “idea”",
        verbs.sketch_edge(drawing, CITY, FACT).label: "Draw edge token 6 to L0 #214",
        verbs.label(
            drawing, "logit/logits/2/7/10", "y" * 99
        ).label: f"Label logit 10 “{'y' * 31}…”",
    }
    assert list(texts) == list(texts.values())


def test_unhide_all_shows_everything(drawing: Drawing) -> None:
    drawing.hide(CITY, FACT)
    drawing.commit(verbs.unhide_all(drawing))
    assert not drawing.rows


def test_sketches_go_with_what_they_end_on(drawing: Drawing) -> None:
    drawing.commit(verbs.sketch_node(drawing, "idea", (5, 6), sketch_id="s"))
    drawing.commit(verbs.sketch_edge(drawing, "s", CITY, sketch_id="e"))
    drawing.commit(verbs.sketch_edge(drawing, CITY, FACT, sketch_id="f"))
    drawing.commit(verbs.remove_sketch(drawing, "s"))
    assert list(drawing.of_kind("sketch_edge")) == ["f"]
    drawing.undo()
    assert len(drawing.rows) == 3


def test_view_settings_are_kept_beside_each_other(drawing: Drawing) -> None:
    drawing.set_view(node_threshold=0.6)
    drawing.set_view(edge_threshold=0.9, show_biases=True)
    assert drawing.row("view", "link_graph") == {
        "node_threshold": 0.6, "edge_threshold": 0.9, "show_biases": True,
    }  # fmt: skip
    drawing.set_view("circuit", node_threshold=0.5)
    assert len(drawing.of_kind("view")) == 2


def test_missing_things_are_told(drawing: Drawing) -> None:
    for act in (
        lambda: verbs.group(drawing, [], "x"),
        lambda: verbs.ungroup(drawing, "no"),
        lambda: verbs.rename_group(drawing, "no", "x"),
        lambda: verbs.remove_note(drawing, "no"),
    ):
        with pytest.raises(ProjectError):
            act()


def test_adopt_brings_a_drawing_to_another_circuit(project: ProjectFile, drawing: Drawing) -> None:
    drawing.group([CITY, FACT], "Texas")
    drawing.label(CITY, "the city")
    other = project.drawing(project.add(project.circuit("Dallas"), "grown"))
    other.commit(verbs.adopt(other, drawing.rows, "Grow Dallas"))
    assert [(key.kind, key.id, row) for key, row in other.rows.items()] == [
        (key.kind, key.id, row) for key, row in drawing.rows.items()
    ]
    assert other.undo_text == "Grow Dallas"


def test_project_note(project: ProjectFile) -> None:
    project.contents.commit(verbs.project_note(project, "# Hello"))
    assert project.contents.row("text", "project") == {"text": "# Hello"}
    project.contents.commit(verbs.project_note(project, ""))
    assert not project.contents.rows


def test_places_must_be_numbers(drawing: Drawing) -> None:
    with pytest.raises(AssertionError):
        verbs.place(drawing, {CITY: (float("nan"), 0.0)})


def labels(drawing: Drawing) -> dict[str, str]:
    groups = drawing.of_kind("group")
    return {
        row["label"]: groups.get(row.get("parent", ""), {"label": ""})["label"]
        for row in groups.values()
    }


def test_groups_nest_and_dissolve_into_the_one_around_them(drawing: Drawing) -> None:
    a, b, c = KEYS = ["token/embed/-1/2/5", "token/embed/-1/6/8", "feature/mlp_out/0/6/1"]
    inner = drawing.group([a], "inner")
    other = drawing.group([b], "other")
    drawing.commit(verbs.group(drawing, [inner, other, a, c], "outer", group_id="outer"))
    assert drawing.undo_text == "Group 3 items"
    assert labels(drawing) == {"inner": "outer", "other": "outer", "outer": ""}
    assert verbs.members(drawing, "outer") == [c]
    assert sorted(verbs.nodes_in(drawing, "outer")) == sorted(KEYS)
    drawing.commit(verbs.group(drawing, [inner, other], "between", group_id="between"))
    assert labels(drawing)["inner"] == "between"
    assert labels(drawing)["between"] == "outer"
    drawing.commit(verbs.ungroup(drawing, "between"))
    assert labels(drawing) == {"inner": "outer", "other": "outer", "outer": ""}
    drawing.commit(verbs.ungroup(drawing, inner))
    assert sorted(verbs.members(drawing, "outer")) == sorted([a, c])
    drawing.commit(verbs.remove_from_group(drawing, KEYS))
    assert not drawing.of_kind("group")
    assert not drawing.of_kind("member")
    for _ in range(7):
        assert drawing.undo()
    assert not drawing.rows


def test_a_suggested_group_becomes_the_persons_by_its_name(drawing: Drawing) -> None:
    edit = verbs.group(drawing, ["token/embed/-1/2/5"], "maybe", group_id="g", source="machine")
    drawing.commit(edit)
    assert drawing.row("group", "g")["source"] == "machine"
    drawing.commit(verbs.rename_group(drawing, "g", "state"))
    assert "source" not in drawing.row("group", "g")
