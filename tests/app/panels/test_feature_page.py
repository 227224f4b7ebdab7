"""The feature page: what it shows of a feature, from the disk and from a project alone."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QEvent, Qt
from PySide6.QtWidgets import (
    QApplication,
    QGridLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)
from pytestqt.qtbot import QtBot

from circuitscope.app.main_window import MainWindow
from circuitscope.app.panels.concept_lines import label_widget
from circuitscope.app.panels.example_text import example_html
from circuitscope.app.panels.feature_labels import detail_words, label_source
from circuitscope.app.panels.feature_page import FeatureBox
from circuitscope.app.panels.relatives import add_relatives, places_in
from circuitscope.app.widgets import clear
from circuitscope.app.words import percent
from circuitscope.core.keys import NodeKind
from circuitscope.core.shipped import shipped_path
from circuitscope.evidence import person_labels
from circuitscope.evidence.file import EvidenceFile, write
from circuitscope.evidence.labels import label_features
from circuitscope.evidence.records import Example, FeatureId, FeaturePage, Label, best_label
from circuitscope.evidence.token_labels import CHANGE, PROJECTION
from circuitscope.session import feature_jobs, feature_work
from circuitscope.session.session import Session

ATLAS = shipped_path("projects", "atlas")


def feature_node(session: Session) -> int:
    circuit = session.circuit
    assert circuit is not None
    features = np.flatnonzero(circuit.nodes.kind == int(NodeKind.FEATURE))
    alive = [
        n for n in features[:60].tolist() if (p := feature_work.page(session, n)) and p.examples
    ]
    return alive[0]


@pytest.mark.qt
def test_each_concept_of_a_label_is_a_line_with_its_share_and_score(qtbot: QtBot) -> None:
    numbers = {
        "share of concept 1": 0.75, "score of concept 1": 0.9831, "share of concept 2": 0.25,
    }  # fmt: skip
    label = Label("“red”, “blue”; or after “in”", "clusters", score=0.9, detail=numbers)
    shown = label_widget(label)
    qtbot.addWidget(shown)
    grid = shown.layout()
    assert isinstance(grid, QGridLayout)
    lines = [[
        item.widget().text() for column in range(3)
        if (item := grid.itemAtPosition(row, column)) is not None
    ] for row in range(2)]  # fmt: skip
    assert lines == [[percent(0.75), "“red”, “blue”", "0.98"], [percent(0.25), "after “in”"]]
    assert not detail_words(label)
    numbers = {f"share of concept {at}": at / 100 for at in range(1, 10)}
    many = label_widget(Label("; or ".join("abcdefghi"), "rules", score=0.9, detail=numbers))
    qtbot.addWidget(many)
    texts = [label.text() for label in many.findChildren(QLabel)]
    assert texts[:2] == [percent(0.09), "i"]
    assert texts[-2:] == [percent(0.06), "3 more"]
    assert many.findChildren(QLabel)[-1].toolTip() == "c; or b; or a"
    one = label_widget(Label("“red”; or “blue”", "rules", score=0.9))
    qtbot.addWidget(one)
    assert isinstance(one, QLabel)
    assert one.text() == "“red”; or “blue”"


@pytest.mark.qt
def test_a_selected_feature_shows_its_examples(window: MainWindow, qtbot: QtBot) -> None:
    session = window.desk.session
    session.open_project(ATLAS / "capitals.circuitscope", read_only=True)
    node = feature_node(session)
    session.select([node])
    qtbot.waitUntil(lambda: window.findChild(FeatureBox) is not None)
    box = window.findChild(FeatureBox)
    assert box.bands.count() == 5
    strongest = [label.accessibleName() for label in box.findChildren(QLabel)]
    box.bands.setCurrentIndex(4)
    assert box.bands.tabData(4) == "0–25 %"
    weakest = [e for e in feature_work.page(session, node).examples if e.band == "0–25 %"]
    qtbot.waitUntil(lambda: "".join(weakest[0].tokens) in [
        label.accessibleName() for label in box.findChildren(QLabel)
    ])  # fmt: skip
    assert "".join(weakest[0].tokens) not in strongest
    assert not box.trial.field.isEnabled()


def test_pages_travel_with_the_project(window: MainWindow) -> None:
    session = window.desk.session
    session.open_project(ATLAS / "capitals.circuitscope", read_only=True)
    circuit, node = session.circuit, feature_node(session)
    session.new_project()
    project = session.project
    assert circuit is not None
    assert project is not None
    added = project.add_finding(circuit, "again")
    session.activate(added)
    assert feature_work.page(session, node) is None
    places = [ATLAS / "dictionaries"]
    assert feature_work.copy_pages(project, added, circuit, [node, node], places) == 1
    assert feature_work.copy_pages(project, added, circuit, [node], places) == 0
    page = feature_work.page(session, node)
    assert page is not None
    assert feature_work.pages_of_project(project) == {page.feature: page}


def test_where_else_a_feature_is_in_the_project(window: MainWindow) -> None:
    session = window.desk.session
    session.open_project(ATLAS / "capitals.circuitscope", read_only=True)
    project = session.project
    assert project is not None
    circuits = {
        info.id: project.circuit(info.id) for info in project.findings() if info.kind == "circuit"
    }  # fmt: skip
    checked = 0
    for node in np.flatnonzero(session.circuit.nodes.kind == int(NodeKind.FEATURE))[:80].tolist():
        key = session.circuit.nodes.key(node)
        feature = feature_work.feature_id(session.circuit, key)
        found = [finding for _, finding in feature_work.circuits_with(project, feature)]
        wanted = [
            finding for finding, circuit in circuits.items()
            if (at := places_in(circuit, key))
            and feature_work.feature_id(circuit, circuit.nodes.key(at[0])) == feature
        ]  # fmt: skip
        assert found == wanted
        checked += len(found) == 2
    assert checked


def test_a_persons_label_wins_and_keeps_its_history() -> None:
    feature = FeatureId("digest", 1, 7)
    person_labels.write(feature, "first")
    person_labels.write(feature, "second")
    person_labels.write(feature, "second")
    own = person_labels.read(feature)
    assert [(label.text, label.replaced) for label in own] == [("first", True), ("second", False)]
    machine = Label("a guess", "n-grams", score=0.99, scored_by="detection")
    assert best_label((machine, *own)) == own[1]
    assert FeaturePage(feature, labels=(machine,)).label == machine
    assert person_labels.read(FeatureId("digest", 1, 8)) == ()


def test_what_a_machine_says_is_marked_with_its_method_and_score() -> None:
    said = label_source(Label("a guess", "n-grams", score=0.91, scored_by="detection"))
    assert "suggested" in said
    assert "n-grams" in said
    assert "detection 0.91" in said
    assert "not scored" in label_source(Label("a guess", "projection"))


@pytest.mark.qt
def test_tokens_are_escaped_and_shaded(window: MainWindow) -> None:
    example = Example((1, 2), ("<b>", " x"), (0.0, 2.0), 1, 2.0)
    html = example_html(window.desk.palette, example, 2.0)
    assert "&lt;b&gt;" in html
    assert html.count("background-color") == 1


@pytest.mark.qt
def test_labels_are_suggested_on_the_page_and_copied_into_the_project(
    window: MainWindow, qtbot: QtBot, tmp_path: Path,
    finish_jobs: Callable[[Session], None],
) -> None:  # fmt: skip
    session = window.desk.session
    folder = tmp_path / "dictionaries"
    folder.mkdir()
    shutil.copy(ATLAS / "dictionaries" / "evidence.sqlite", folder)
    for file in (ATLAS / "dictionaries").iterdir():
        if file.name != "evidence.sqlite":
            (folder / file.name).symlink_to(file)
    with EvidenceFile(folder) as file:
        contents = file.contents()
    contents.labels = {}
    write(folder / "evidence.sqlite", contents)
    shutil.copy(ATLAS / "capitals.circuitscope", tmp_path)
    session.open_project(tmp_path / "capitals.circuitscope")
    session.load_model(ATLAS / "model")
    session.preferences.add_dictionaries(str(ATLAS / "model"), (str(folder),))
    finish_jobs(session)
    circuit, node = session.circuit, feature_node(session)
    feature = feature_work.feature_id(circuit, circuit.nodes.key(node))
    carried = feature_work.pages_of_project(session.project)
    assert feature is not None
    session.select([node])
    qtbot.waitUntil(lambda: window.findChild(FeatureBox) is not None)
    box = window.findChild(FeatureBox)
    assert box.labels.suggest_button.isEnabled(), box.labels.suggest_button.toolTip()
    box.labels.suggest_button.click()
    finish_jobs(session)
    labels = feature_work.page(session, node).labels
    assert {label.method for label in labels} >= {PROJECTION, CHANGE}
    assert all(label.score is not None for label in labels)
    shown = lambda: [w.text() for w in window.findChildren(QLabel)]  # noqa: E731
    qtbot.waitUntil(lambda: any(labels[0].text == text for text in shown()))
    qtbot.waitUntil(lambda: any("output" in text and "suggested" in text for text in shown()))
    if feature in carried:
        assert feature_work.pages_of_project(session.project)[feature].labels == labels


@pytest.mark.qt
def test_a_language_model_is_offered_only_where_one_was_turned_on(
    window: MainWindow, qtbot: QtBot
) -> None:
    session = window.desk.session
    assert feature_jobs.language_choice(session.preferences.now) is None
    session.open_project(ATLAS / "capitals.circuitscope", read_only=True)
    session.select([feature_node(session)])
    qtbot.waitUntil(lambda: window.findChild(FeatureBox) is not None)
    assert window.findChild(FeatureBox).labels.explain_button.isHidden()
    session.preferences.change("language", use=True, url="http://localhost:1/v1", model="big")
    box = FeatureBox(
        window.desk, session.circuit, session.selection[0],
        feature_work.page(session, session.selection[0]),
    )  # fmt: skip
    qtbot.addWidget(box)
    assert box.labels.explain_button.text() == "Explain with big"
    assert "http://localhost:1/v1" in box.labels.explain_button.toolTip()
    assert not box.labels.explain_button.isHidden()
    session.preferences.change("language", use=False)
    assert feature_jobs.language_choice(session.preferences.now) is None


@pytest.mark.qt
def test_similar_features_are_named_and_can_be_gone_to(window: MainWindow, qtbot: QtBot) -> None:
    session = window.desk.session
    session.open_project(ATLAS / "capitals.circuitscope", read_only=True)
    circuit = session.circuit
    column = QVBoxLayout()
    holder = QWidget()
    holder.setLayout(column)
    qtbot.addWidget(holder)
    gone_to = 0
    features = np.flatnonzero(circuit.nodes.kind == int(NodeKind.FEATURE))
    for node in features[:80].tolist():
        page = feature_work.page(session, node)
        if page is None or not page.similar:
            continue
        key = circuit.nodes.key(node)
        add_relatives(column, window.desk, circuit, key, page)
        for link in holder.findChildren(QPushButton):
            link.click()
            chosen = circuit.nodes.key(session.selection[0])
            assert (chosen.site, chosen.layer) == (key.site, key.layer)
            assert f"#{chosen.unit}" == link.text()
            gone_to += 1
        best = page.similar[0]
        label = feature_work.label_of(
            session, FeatureId(page.feature.digest, page.feature.layer, best.unit)
        )
        if label is not None and best.similarity >= 0.3:
            assert label.text in [one.toolTip() or one.text() for one in
                                  holder.findChildren(QLabel)]  # fmt: skip
        clear(column)
        QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    assert gone_to


@pytest.mark.qt
def test_why_no_labels_can_be_suggested_is_said(window: MainWindow, qtbot: QtBot) -> None:
    session = window.desk.session
    session.open_project(ATLAS / "capitals.circuitscope", read_only=True)
    session.select([feature_node(session)])
    qtbot.waitUntil(lambda: window.findChild(FeatureBox) is not None)
    box = window.findChild(FeatureBox)
    assert not box.labels.suggest_button.isEnabled()
    assert "model" in box.labels.suggest_button.toolTip()


@pytest.mark.qt
def test_labels_made_in_the_shell_reach_an_open_project(
    window: MainWindow, qtbot: QtBot, tmp_path: Path, qapp: QApplication,
    finish_jobs: Callable[[Session], None],
) -> None:  # fmt: skip
    session = window.desk.session
    for name in ("model", "dictionaries"):
        (tmp_path / name).mkdir()
        for file in (ATLAS / name).iterdir():
            (tmp_path / name / file.name).symlink_to(file)
    evidence = tmp_path / "dictionaries" / "evidence.sqlite"
    evidence.unlink()
    shutil.copy(ATLAS / "dictionaries" / "evidence.sqlite", evidence)
    shutil.copy(ATLAS / "capitals.circuitscope", tmp_path)
    project = session.open_project(tmp_path / "capitals.circuitscope")
    session.load_model(tmp_path / "model")
    finish_jobs(session)
    nodes, carried = session.circuit.nodes, feature_work.pages_of_project(project)
    node, feature = next(
        (at, found) for at in np.flatnonzero(nodes.kind == int(NodeKind.FEATURE)).tolist()
        if (found := feature_work.feature_id(session.circuit, nodes.key(at))) in carried
    )  # fmt: skip
    session.select([node])
    qtbot.wait(600)
    assert not session.is_modified
    new = Label("made in the shell", "board rule", score=0.999, scored_by="F1")
    label_features(evidence, {feature: [new]}, only=[feature])
    qapp.applicationStateChanged.emit(Qt.ApplicationState.ApplicationActive)
    qtbot.waitUntil(lambda: session.is_modified, timeout=10_000)
    assert new in feature_work.pages_of_project(project)[feature].labels
    assert window.isWindowModified()
    shown = lambda: [w.text() for w in window.findChildren(QLabel)]  # noqa: E731
    qtbot.waitUntil(lambda: new.text in shown())
    session.save()
    qapp.applicationStateChanged.emit(Qt.ApplicationState.ApplicationActive)
    qtbot.wait(600)
    assert not session.is_modified
