"""Several drawings open at once, and open again the next time."""

from PySide6.QtWidgets import QApplication

from circuitscope.app.main_window import MainWindow
from circuitscope.core.circuit import Circuit
from circuitscope.project import drawings, verbs


def texts(window: MainWindow) -> list[str]:
    bar = window.drawing_tabs
    return [bar.tabText(at) for at in range(bar.count())]


def test_what_is_shown_gets_a_tab_and_tabs_follow(
    drawn: MainWindow, small_circuit: Circuit, qapp: QApplication
) -> None:
    session, bar = drawn.session, drawn.drawing_tabs
    qapp.processEvents()
    dallas = session.active
    assert texts(drawn) == ["Dallas"]
    assert bar.isHidden()
    oakland = session.project.add_finding(small_circuit, "Oakland")
    session.activate(oakland)
    second = session.project.add_drawing(dallas, "Figure 2")
    session.activate(dallas, second)
    qapp.processEvents()
    assert texts(drawn) == ["Dallas · Drawing 1", "Oakland", "Dallas · Figure 2"]
    assert not bar.isHidden()
    bar.setCurrentIndex(0)
    assert (session.active, session.active_drawing) == (dallas, dallas)
    drawn.desk.trigger("window.next_tab")
    assert session.active == oakland
    drawn.desk.trigger("window.close_tab")
    qapp.processEvents()
    assert session.active == dallas
    assert len(texts(drawn)) == 2
    assert len(session.project.findings()) == 2
    session.edit_project(drawings.delete_drawing, second)
    qapp.processEvents()
    assert texts(drawn) == ["Dallas"]
    drawn.desk.trigger("window.close_tab")
    assert texts(drawn) == ["Dallas"]


def test_a_project_opens_again_with_its_tabs(
    drawn: MainWindow, small_circuit: Circuit, qapp: QApplication
) -> None:
    session, dallas = drawn.session, drawn.session.active
    oakland = session.project.add_finding(small_circuit, "Oakland")
    second = session.project.add_drawing(dallas, "Figure 2")
    for circuit, drawing in ((oakland, oakland), (dallas, second)):
        session.activate(circuit, drawing)
        qapp.processEvents()
    session.save()
    path = session.project.path
    drawn.desk.trigger("file.close")
    qapp.processEvents()
    assert texts(drawn) == []
    drawn.open_path(path)
    qapp.processEvents()
    assert session.active_drawing == second
    assert sorted(texts(drawn)) == ["Dallas · Drawing 1", "Dallas · Figure 2", "Oakland"]
    session.edit_project(verbs.rename_finding, oakland, "Berkeley")
    qapp.processEvents()
    assert "Berkeley" in texts(drawn)
