"""Empty states: what a place says before there is anything in it."""

from screens.stage import Scene, Stage


def empty_project(stage: Stage) -> None:
    """A project without a circuit."""
    stage.session.new_project()
    stage.take("empty-project")
    stage.session.close()


def nothing_pinned(stage: Stage) -> None:
    """A circuit whose drawing is empty, and a diagram with everything below the threshold."""
    stage.open("capitals")
    stage.run("project.new_drawing")
    stage.close_dialogs()
    stage.session.activate(stage.session.project.finding("Dallas, by heads").id)
    stage.window.show_view("circuit")
    stage.take("nothing-pinned")
    stage.window.show_view("link")


def no_model(stage: Stage) -> None:
    """Dialogs that need a model, where none is loaded."""
    if stage.session.model.state != "none":
        return
    stage.open("capitals")
    for action, name in (("trace.new", "trace"), ("trace.lens", "lens"), ("trace.try", "try")):
        stage.group("Texas")
        stage.run(action)
        stage.take(f"no-model-{name}")
        stage.close_dialogs()


def no_evidence(stage: Stage) -> None:
    """A feature of which nothing is kept; a token; what no dictionary explains; several nodes."""
    from circuitscope.core.keys import NodeKind

    stage.open("capitals")
    nodes = stage.session.circuit.nodes
    shown = stage.session.shown().nodes
    for kind, name in ((NodeKind.TOKEN, "token"), (NodeKind.ERROR, "unexplained")):
        found = (nodes.of_kind(kind) & shown).nonzero()[0].tolist()
        stage.session.select(found[:1])
        stage.take(f"inspector-{name}")
    stage.group("any city’s question")
    stage.take("inspector-several")


SCENES: tuple[Scene, ...] = (no_model, empty_project, nothing_pinned, no_evidence)
