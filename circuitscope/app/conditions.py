"""When an action can be used; where it cannot, the reason that its tooltip gives."""

from circuitscope.app.naming import is_attention
from circuitscope.app.words import tr
from circuitscope.core.anatomy import Site
from circuitscope.core.keys import NodeKind
from circuitscope.session.session import Session
from circuitscope.session.trials import CHANGEABLE


def always(session: Session) -> str:
    """Allow it at any time."""
    return ""


def project_open(session: Session) -> str:
    """Ask for an open project."""
    return "" if session.project is not None else tr("Open or start a project first.")


def something_to_save(session: Session) -> str:
    """Ask for changes that are not in the file yet."""
    if reason := project_open(session):
        return reason
    if session.project.read_only:
        return tr("The project is open for reading only; use Save as.")
    unsaved = session.is_modified or session.project.path is None
    return "" if unsaved else tr("Everything is saved.")


def something_deleted(session: Session) -> str:
    """Ask for deleted results in a project that may be changed."""
    if reason := project_open(session):
        return reason
    if session.project.read_only:
        return tr("The project is open for reading only; use Save as.")
    deleted = session.project.contents.of_kind("deleted")
    return "" if deleted else tr("Nothing was deleted, so there is nothing to remove.")


def two_circuits(session: Session) -> str:
    """Ask for two circuits in the project."""
    if reason := circuit_shown(session):
        return reason
    found = [info for info in session.project.findings() if info.kind == "circuit"]
    return "" if len(found) > 1 else tr("Trace or import a second circuit first.")


def imported_shown(session: Session) -> str:
    """Ask for a circuit that was imported from a graph file."""
    if reason := circuit_shown(session):
        return reason
    if session.circuit.provenance.method == "imported":
        return ""
    return tr("Links of Neuronpedia belong to graphs imported from its files.")


def circuit_shown(session: Session) -> str:
    """Ask for a circuit on screen."""
    if session.circuit is not None:
        return ""
    return tr("Open a project with a circuit, or trace a sentence, first.")


def further_drawing_shown(session: Session) -> str:
    """Ask for a drawing that is not its circuit's first one."""
    if reason := circuit_shown(session):
        return reason
    if session.active_drawing != session.active:
        return ""
    return tr("A circuit's first drawing stays with it; delete the circuit instead.")


def traced_circuit_shown(session: Session) -> str:
    """Ask for a circuit whose settings are known."""
    if reason := circuit_shown(session):
        return reason
    circuit = session.circuit
    assert circuit is not None
    known = "targets" in circuit.provenance.settings
    return "" if known else tr("This circuit was not traced here; trace the prompt first.")


def nodes_selected(session: Session) -> str:
    """Ask for at least one selected node."""
    if reason := circuit_shown(session):
        return reason
    return "" if session.selection else tr("Select one or more nodes first.")


def something_to_leave(session: Session) -> str:
    """Ask for a selection or a focus."""
    return "" if session.focus is not None else nodes_selected(session)


def two_selected(session: Session) -> str:
    """Ask for exactly two selected nodes."""
    if reason := circuit_shown(session):
        return reason
    return "" if len(session.selection) == 2 else tr("Select two nodes first: Shift-click adds.")


def filtered(session: Session) -> str:
    """Ask for a filter."""
    if reason := circuit_shown(session):
        return reason
    return "" if session.view().filter else tr("No filter is set.")


def one_selected(session: Session) -> str:
    """Ask for exactly one selected node."""
    if reason := circuit_shown(session):
        return reason
    return "" if len(session.selection) == 1 else tr("Select a single node first.")


def changeable_selected(session: Session) -> str:
    """Ask for a selected node that the model can be made to do without."""
    if reason := nodes_selected(session):
        return reason
    circuit = session.circuit
    assert circuit is not None
    kinds = {NodeKind(int(circuit.nodes.kind[index])) for index in session.selection}
    if kinds & set(CHANGEABLE):
        return ""
    return tr(
        "Select a feature, a neuron, a head or a token: unexplained parts, constants and logits "
        "are nothing that the model could do without."
    )


def attention_selected(session: Session) -> str:
    """Ask for one selected node that attention feeds, or a score, in a circuit traced here."""
    if reason := one_selected(session):
        return reason
    circuit = session.circuit
    assert circuit is not None
    if not is_attention(circuit, session.selection[0]):
        return tr("Select an attention feature, a head or an attention score first.")
    return traced_here(session)


def traced_here(session: Session) -> str:
    """Ask for a circuit that was traced here and a model to go on with."""
    circuit = session.circuit
    assert circuit is not None
    if "targets" not in circuit.provenance.settings:
        return tr("This circuit was not traced here; trace the prompt first.")
    chosen = session.model.state in ("loading", "ready")
    return "" if chosen else tr("Choose the model it was traced in first.")


def heads_comparable(session: Session) -> str:
    """Ask for a circuit with attention features or heads, traced here by direct contributions."""
    if reason := circuit_shown(session):
        return reason
    circuit = session.circuit
    assert circuit is not None
    if circuit.provenance.method != "direct":
        return tr("Only a circuit of direct contributions can be split by head.")
    nodes = circuit.nodes
    features = nodes.of_kind(NodeKind.FEATURE) & (nodes.site == Site.ATTN_OUT)
    if not (features | nodes.of_kind(NodeKind.HEAD)).any():
        return tr("Nothing in this circuit passes an attention head.")
    return traced_here(session)


def further_selected(session: Session) -> str:
    """Ask for a selected node whose inputs were not computed."""
    if reason := one_selected(session):
        return reason
    circuit, node = session.circuit, session.selection[0]
    assert circuit is not None
    kind = NodeKind(int(circuit.nodes.kind[node]))
    if kind not in (NodeKind.FEATURE, NodeKind.HEAD, NodeKind.NEURON):
        return tr("Nothing inside the model feeds it.")
    if circuit.expanded[node]:
        return tr("Its inputs are computed already.")
    return traced_here(session)


def labelled_selected(session: Session) -> str:
    """Ask for a selected node with a label of its own."""
    if reason := nodes_selected(session):
        return reason
    labels = session.drawing.of_kind("label")
    if any(key in labels for key in session.selected_keys()):
        return ""
    return tr("None of the selected nodes has a label of your own.")


def grouped_selected(session: Session) -> str:
    """Ask for a selected node that belongs to a group."""
    if reason := nodes_selected(session):
        return reason
    members = session.drawing.of_kind("member")
    if any(key in members for key in session.selected_keys()):
        return ""
    return tr("None of the selected nodes is in a group.")


def something_hidden(session: Session) -> str:
    """Ask for nodes that were hidden by hand."""
    if reason := circuit_shown(session):
        return reason
    return "" if session.drawing.of_kind("hidden") else tr("No node is hidden by hand.")


def something_placed(session: Session) -> str:
    """Ask for nodes that were moved by hand."""
    if reason := circuit_shown(session):
        return reason
    return "" if session.drawing.of_kind("place") else tr("Nothing was moved by hand.")


def can_undo(session: Session) -> str:
    """Ask for an edit to take back."""
    return "" if session.project is not None and session.undo_text else tr("Nothing to undo.")


def can_redo(session: Session) -> str:
    """Ask for an edit to do again."""
    return "" if session.project is not None and session.redo_text else tr("Nothing to redo.")


def job_running(session: Session) -> str:
    """Ask for a job at work."""
    return "" if session.jobs.running is not None else tr("No job is running.")


def has_errors(session: Session) -> str:
    """Ask for a circuit with unexplained parts."""
    if reason := circuit_shown(session):
        return reason
    circuit = session.circuit
    assert circuit is not None
    if circuit.nodes.of_kind(NodeKind.ERROR).any():
        return ""
    return tr("This circuit has no unexplained parts.")


def has_biases(session: Session) -> str:
    """Ask for a circuit with nodes of biases or positions."""
    if reason := circuit_shown(session):
        return reason
    circuit = session.circuit
    assert circuit is not None
    if circuit.nodes.of_kind(NodeKind.BIAS, NodeKind.POSITION).any():
        return ""
    return tr("This circuit has no nodes for biases or positions.")
