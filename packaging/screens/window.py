"""The window: start page, both canvases, panels, search, tour."""

from screens.stage import PROMPT, ROOT, Scene, Stage


def start_page(stage: Stage) -> None:
    stage.session.close()
    stage.take("start")
    stage.open("capitals")
    stage.run("file.close")
    stage.take("start-recent")


def link_graph(stage: Stage) -> None:
    stage.open("capitals")
    stage.window.show_view("link")
    stage.take("link-graph")
    stage.group("Texas")
    stage.take("selected")
    stage.window.statusBar().show_reasons()
    stage.take("why-hidden")
    stage.app.activePopupWidget().close()


def circuit_view(stage: Stage) -> None:
    stage.open("capitals")
    stage.window.show_view("circuit")
    stage.take("circuit")
    stage.window.show_view("link")


def search(stage: Stage) -> None:
    stage.open("capitals")
    stage.window.search.start()
    stage.take("search-empty")
    for name, text in (("search", "layer:0-2 kind:feature texas"), ("search-problem", "layer:top"),
                       ("search-none", "kind:feature zebra")):  # fmt: skip
        stage.window.search.setText(text)
        stage.take(name)
    stage.window.search.clear()
    stage.window.canvas().setFocus()


def command_palette(stage: Stage) -> None:
    stage.open("capitals")
    stage.run("edit.commands")
    stage.take("palette")
    stage.dialog().field.setText("sel")
    stage.take("palette-typed")
    stage.close_dialogs()


def preferences(stage: Stage) -> None:
    stage.run("edit.preferences")
    from PySide6.QtWidgets import QScrollArea

    stage.take("preferences")
    bar = stage.dialog().findChild(QScrollArea).verticalScrollBar()
    bar.setValue(bar.maximum())
    stage.take("preferences-end")
    stage.close_dialogs()


def information_flow(stage: Stage) -> None:
    stage.open("capitals")
    from circuitscope.core.settings import TraceSettings

    stage.load("atlas")
    stage.session.trace(TraceSettings(PROMPT, "information_flow"), "flow")
    stage.take("information-flow", 4000)
    stage.window.show_view("circuit")
    stage.take("information-flow-circuit")
    stage.window.show_view("link")


def split_view(stage: Stage) -> None:
    stage.open("capitals")
    stage.session.activate(stage.session.project.finding("Dallas").id)
    stage.window.split.show_beside(stage.session.project.finding("Oakland").id)
    stage.group("Texas")
    stage.session.select(stage.session.selection[:1])
    node = stage.session.circuit.nodes.find("token/embed/-1/7/34") or int(
        stage.session.circuit.roots[0]
    )
    stage.session.select([node])
    stage.take("split-view", 1200)
    stage.window.split.swap()
    stage.take("split-swapped", 800)
    stage.window.split.unsplit()


def feature_pages(stage: Stage) -> None:
    from PySide6.QtWidgets import QScrollArea

    from circuitscope.app.panels.feature_page import FeatureBox
    from circuitscope.app.panels.inspector import InspectorPanel
    from circuitscope.evidence.records import concepts_of
    from circuitscope.session import feature_work

    for name in ("capitals", "othello"):
        stage.open(name)
        stage.load("atlas" if name == "capitals" else name)
        circuit = stage.session.circuit
        order = (-circuit.nodes.influence).argsort().tolist()
        pages = (n for n in order if (p := feature_work.page(stage.session, n)) and p.examples)
        stage.session.select([next(pages)])
        stage.settle(1200)
        scroll = stage.window.findChild(InspectorPanel).findChild(QScrollArea)
        box = stage.window.findChild(FeatureBox)
        bar = scroll.verticalScrollBar()
        top = box.mapTo(scroll.widget(), box.rect().topLeft()).y()
        for part in range(4):
            bar.setValue(top + part * (scroll.height() - 40))
            stage.take(f"feature-{name}-{part + 1}")
            if bar.value() == bar.maximum():
                break
        several = (
            n for n in order
            if (p := feature_work.page(stage.session, n))
            and any(one.score for label in p.labels for one in concepts_of(label))
        )  # fmt: skip
        stage.session.select([next(several)])
        stage.settle(1200)
        box = stage.window.findChild(FeatureBox)
        bar.setValue(box.mapTo(scroll.widget(), box.rect().topLeft()).y())
        stage.take(f"feature-{name}-concepts")
        if name == "othello":
            from circuitscope.app.panels.board import BoardPanel

            board = stage.window.findChild(BoardPanel).findChild(QScrollArea).verticalScrollBar()
            board.setValue(board.maximum())
            stage.take("feature-boards")


def other_examples(stage: Stage) -> None:
    for name in sorted(path.stem for path in (ROOT / "projects").glob("**/*.circuitscope")):
        if name != "capitals":
            stage.open(name)
            stage.take(f"example-{name}", 1200)


def jobs(stage: Stage) -> None:
    stage.open("capitals")
    from circuitscope.engine.requests import Ping

    for title, request in (("A job that counts", Ping(40, 0.05)), ("A job that waits", Ping())):
        stage.session.jobs.add(title, request)
    stage.take("jobs-done", 100)
    from circuitscope.app.panels.jobs import JobRow

    rows = [row for row in stage.window.findChildren(JobRow) if row.job.log]
    if rows:
        rows[0].log_button.click()
        stage.take("job-log")
    stage.close_dialogs()


def looks(stage: Stage) -> None:
    stage.open("capitals")
    stage.group("Texas")
    stage.run("graph.look")
    dialog = stage.dialog()
    for query, color, shape in (("kind:attention", "violet", "triangle"), ("sign:-", "brick", "")):
        dialog.query.setText(query)
        dialog.rule.color.setCurrentIndex(dialog.rule.color.findData(color))
        dialog.rule.shape.setCurrentIndex(dialog.rule.shape.findData(shape))
        dialog.add_rule()
    stage.take("looks")
    stage.close_dialogs()
    stage.window.show_view("circuit")
    stage.take("looks-circuit")
    stage.window.show_view("link")
    stage.session.undo()
    stage.session.undo()


def tour(stage: Stage) -> None:
    from circuitscope.app.tour import Tour

    stage.session.close()
    stage.run("help.tour")
    stage.take("tour-1")
    stage.open("capitals")
    stage.take("tour-2", 800)
    found = stage.window.findChild(Tour)
    if found is not None:
        found.end()


def menus(stage: Stage) -> None:
    """Menus of the bar, of a node and of the project tree."""
    from PySide6.QtCore import QPoint

    from circuitscope.app.panels.project_tree import ProjectTree

    stage.open("capitals")
    stage.group("Texas")
    bar = stage.window.menuBar()
    for action in bar.actions():
        title = action.text().replace("&", "").lower()
        at = bar.actionGeometry(action)
        stage.menu(action.menu(), at.left(), at.bottom(), f"menu-{title}")
    stage.window.link_graph.menu_wanted.emit(stage.session.selection[0], QPoint(560, 120))
    stage.take("menu-node")
    stage.app.activePopupWidget().close()
    tree = stage.window.findChild(ProjectTree)
    stage.menu(tree.menu_of(tree.currentItem()), 120, 170, "menu-tree")


def editing(stage: Stage) -> None:
    """History with edits in it, a note, a frame and sketches in the diagram, and a group open."""
    from circuitscope.project import arranging, verbs

    stage.open("capitals")
    session = stage.session
    stage.group("Texas")
    keys = session.selected_keys()
    session.edit(verbs.label, keys[0], "the state, Texas")
    session.edit(verbs.pin, str(session.circuit.nodes.key(int(session.circuit.roots[0]))))
    session.set_view(node_threshold=0.7)
    stage.take("history")
    stage.window.show_view("circuit")
    stage.run("graph.open_group")
    stage.take("group-open")
    view = stage.window.circuit_view
    words = "The city names no state; this feature does."
    note = verbs.note(session.drawing, words, view.free_spot())
    session.edit(arranging.with_places, note, view.places())
    session.edit(arranging.frame, "the state", view.frame_around_selection(), None, view.places())
    stage.take("note-and-frame")
    stage.window.show_view("link")
    while session.undo_text:
        session.undo()


def hovering(stage: Stage) -> None:
    """What stands out below the mouse, in both views."""
    from PySide6.QtCore import QPoint
    from PySide6.QtGui import QCursor
    from PySide6.QtTest import QTest

    stage.open("capitals")
    view = stage.window.link_graph
    node = next(iter(stage.session.drawing.of_kind("member")))
    place = view.scene.places[[stage.session.circuit.nodes.find(node)]]
    QTest.mouseMove(view, QPoint(*view.camera.to_pixels(place)[0].astype(int).tolist()))
    stage.take("hover-link-graph")
    stage.window.show_view("circuit")
    diagram = stage.window.circuit_view
    QTest.mouseMove(diagram, QPoint(*map(int, diagram.middle_of(1).toTuple())))
    stage.take("hover-circuit")
    QCursor.setPos(1439, 899)
    stage.window.show_view("link")


def minimap(stage: Stage) -> None:
    """Zoomed in, with the whole in a corner; focus on what feeds a node; one token's column."""
    stage.open("capitals")
    stage.group("Texas")
    stage.run("view.focus_both")
    stage.take("focus")
    stage.run("edit.select_none")
    stage.run("view.minimap")
    stage.window.link_graph.zoom(2.5)
    stage.take("minimap")
    stage.run("view.minimap")
    stage.run("view.fit")


def meanings(stage: Stage) -> None:
    """What a number means."""
    from PySide6.QtWidgets import QWhatsThis

    from circuitscope.app.meanings import meaning, show_meaning

    stage.open("capitals")
    show_meaning(stage.window.statusBar(), meaning("influence"))
    stage.take("meaning")
    QWhatsThis.hideText()


SCENES: tuple[Scene, ...] = (
    link_graph, circuit_view, search, command_palette, preferences, menus, editing, hovering,
    minimap, meanings, information_flow, split_view, feature_pages, other_examples, jobs, looks,
)  # fmt: skip
