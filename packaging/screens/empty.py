"""Empty states: what a place says before there is anything in it."""

from screens.stage import Scene, Stage


def empty_project(stage: Stage) -> None:
    """A project without a circuit."""
    stage.session.new_project()
    stage.take("empty-project")
    stage.session.close()


def nothing_pinned(stage: Stage) -> None:
    """A circuit whose drawing is empty."""
    stage.open("capitals")
    stage.session.activate(stage.session.project.finding("Dallas, by heads").id)
    stage.window.show_view("circuit")
    stage.take("nothing-pinned")
    stage.window.show_view("link")


def other_nodes(stage: Stage) -> None:
    """The inspector on a token, on what no dictionary explains, and on several nodes."""
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


SCENES: tuple[Scene, ...] = (empty_project, nothing_pinned, other_nodes)
