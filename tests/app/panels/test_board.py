"""The board panel shows the position at the selected move and what features see of the board."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QHelpEvent
from PySide6.QtWidgets import QApplication, QLabel, QToolTip
from pytestqt.qtbot import QtBot

from circuitscope.app.main_window import MainWindow
from circuitscope.app.panels import board
from circuitscope.app.panels.board import BoardPanel
from circuitscope.app.panels.board_features import FeatureBoardsBox
from circuitscope.app.panels.board_view import Grid, PositionView, SharesView
from circuitscope.app.theme import DARK, HIGH_CONTRAST, LIGHT
from circuitscope.core.anatomy import Site
from circuitscope.core.circuit import Circuit, EdgeTable, NodeTable
from circuitscope.core.dictionary import DictionaryCard, header_digest
from circuitscope.core.finding import Provenance
from circuitscope.core.keys import NodeKey, NodeKind
from circuitscope.engine.requests import Predict
from circuitscope.examples import othello, othello_boards
from circuitscope.examples.othello import SQUARES, VOCABULARY
from circuitscope.examples.othello_boards import FeatureBoards
from circuitscope.examples.othello_views import positions, square_of
from circuitscope.session.session import Session

MOVES = ("F5", "D6", "C3", "D3", "C4")
TOKEN, FEATURE, ATTENTION, SCORE, LOGIT, OTHER, BIAS = range(7)


def card(digest: str) -> DictionaryCard:
    return DictionaryCard(
        "mlp_out_3", "sae_lens", "mlp_out_3", digest, Site.MLP_OUT, Site.MLP_OUT, (3,), 128, 128,
        1024,
    )  # fmt: skip


def game_circuit(
    moves: tuple[str, ...] = MOVES, digest: str = "", model: dict | None = None
) -> Circuit:
    last = len(moves) - 1
    keys = [
        NodeKey(NodeKind.TOKEN, Site.EMBED, -1, 1, 40),
        NodeKey(NodeKind.FEATURE, Site.MLP_OUT, 3, 2, 7),
        NodeKey(NodeKind.FEATURE, Site.ATTN_OUT, 3, 3, 7),
        NodeKey(NodeKind.SCORE, Site.PATTERN, 2, last, 5 * 60 + 1),
        NodeKey(NodeKind.LOGIT, Site.LOGITS, 6, last, VOCABULARY.index("E3")),
        NodeKey(NodeKind.LOGIT, Site.LOGITS, 6, last, VOCABULARY.index("B4")),
        NodeKey(NodeKind.BIAS, Site.MLP_OUT, 3, -1, 1),
    ]
    n = len(keys)
    source, target = np.array([0, 0, 0, 1, 2, 3, 6, 1]), np.array([1, 2, 3, 4, 4, 4, 4, 5])
    return Circuit(
        moves, tuple(VOCABULARY.index(m.upper()) if m.upper() in VOCABULARY else 0 for m in moves),
        NodeTable.from_keys(keys, np.ones(n), np.ones(n)),
        EdgeTable(source, target, np.ones(8), np.zeros(8)),
        np.array([4, 5]), np.array([0.75, 0.125]), np.zeros(n), np.zeros(n), np.zeros(n),
        np.isin(np.arange(n), target),
        Provenance(
            "direct", settings={"prompt": " ".join(moves)},
            model=model or {"name": "othello", "d_vocab": 61, "n_ctx": 60, "digest": "m"},
            dictionaries=(card(digest).as_json(),) if digest else (),
        ),
    )  # fmt: skip


@pytest.fixture
def show(window: MainWindow, qapp: QApplication) -> Callable[[Circuit], BoardPanel]:
    def put(circuit: Circuit) -> BoardPanel:
        session = window.session
        project = session.project or session.new_project()
        session.activate(project.add_finding(circuit, "game"))
        session.set_view(node_threshold=1.0, edge_threshold=1.0)
        qapp.processEvents()
        qapp.processEvents()
        found = window.findChild(BoardPanel)
        assert found is not None
        return found

    return put


@pytest.fixture
def discard(window: MainWindow) -> object:
    """Close without a question."""
    yield
    window.session.close()


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder like the example's, with the boards of feature 7 of mlp_out_3."""
    folder = tmp_path / "othello"
    files = folder / "dictionaries" / "mlp_out_3"
    files.mkdir(parents=True)
    (files / "cfg.json").write_text("{}")
    (files / "sae_weights.safetensors").write_bytes(b"\x02" + b"\0" * 7 + b"{}")
    games = othello.play(3, 6).tokens[None]
    shares = np.zeros((1, 6, 64), np.uint8)
    shares[0, 0, SQUARES.index("E3")] = 255
    othello_boards.write(folder / "boards.npz", FeatureBoards(
        np.array(["mlp_out_3"]), np.zeros(1, np.uint8), np.array([7], np.int16),
        np.full(1, 0.02, np.float32), np.full(1, 3.5, np.float32), shares, games,
        np.array([[9, 19, 29, 3, 4, 5]], np.uint8), np.linspace(9, 4, 6, dtype=np.float32)[None],
        np.array(["E3 mine"]), np.full(1, 0.93, np.float32),
    ))  # fmt: skip
    monkeypatch.setattr(board, "shipped_path", lambda *parts: folder)
    return folder


def digest_of(folder: Path) -> str:
    files = folder / "dictionaries" / "mlp_out_3"
    return header_digest(files / "cfg.json", files / "sae_weights.safetensors")


def texts(panel: BoardPanel) -> str:
    QApplication.processEvents()
    return "\n".join(label.text() for label in panel.findChildren(QLabel))


def choose(session: Session, *nodes: int) -> None:
    session.select(nodes)
    QApplication.processEvents()


pytestmark = [pytest.mark.qt, pytest.mark.usefixtures("discard")]


def test_the_dock_appears_for_games_only(show, window: MainWindow, small_circuit: Circuit) -> None:
    session = window.session
    session.activate(session.new_project().add_finding(small_circuit, "Dallas"))
    QApplication.processEvents()
    dock = window._examples.docks["othello"]
    assert not dock.isVisible()
    assert dock.widget() is None
    assert not dock.toggleViewAction().isVisible()
    panel = show(game_circuit())
    assert panel.isVisible()
    assert dock.toggleViewAction().isVisible()
    session.activate(session.project.findings()[0].id)
    QApplication.processEvents()
    assert not dock.isVisible()


def test_a_dock_closed_by_the_user_stays_closed_until_reset(show, window: MainWindow) -> None:
    show(game_circuit())
    dock = window._examples.docks["othello"]
    dock.close()
    window.refresh()
    assert not dock.isVisible()
    window.keep_layout()
    assert not type(dock)("othello", "Board", window).wanted
    dock.toggleViewAction().trigger()
    assert dock.isVisible()
    dock.close()
    window.desk.trigger("window.reset")
    assert dock.isVisible()


def test_selecting_a_node_shows_the_board_after_its_token(show, window: MainWindow) -> None:
    panel = show(game_circuit())
    expected = positions(MOVES)
    assert panel.headline.text() == "Move 5: C4 by Black"
    for node, at in ((TOKEN, 1), (FEATURE, 2), (LOGIT, 4), (ATTENTION, 3)):
        choose(window.session, node)
        assert panel.at == at
        shown = panel.board.position
        np.testing.assert_array_equal(shown.mine, expected[at].mine)
        np.testing.assert_array_equal(shown.legal, expected[at].legal)
    choose(window.session, BIAS)
    assert panel.at == 3
    assert "White’s discs are mine" in texts(panel) or "Black’s discs are mine" in texts(panel)


def test_stepping_selects_the_column(show, window: MainWindow, qtbot: QtBot) -> None:
    panel, session = show(game_circuit()), window.session
    qtbot.mouseClick(panel.back, Qt.MouseButton.LeftButton)
    assert (panel.at, session.selection) == (3, (ATTENTION,))
    panel.board.setFocus()
    qtbot.keyClick(panel.board, Qt.Key.Key_Left)
    assert (panel.at, session.selection) == (2, (FEATURE,))
    qtbot.keyClick(panel.board, Qt.Key.Key_Home)
    assert (panel.at, session.selection) == (0, ())
    assert panel.headline.text() == "Move 1: F5 by Black"
    assert not panel.back.isEnabled()
    QApplication.processEvents()
    assert panel.at == 0
    panel.slider.setValue(5)
    assert (panel.at, session.selection) == (4, (SCORE, LOGIT, OTHER))
    assert not panel.on.isEnabled()
    qtbot.keyClick(panel.board, Qt.Key.Key_Right)
    assert panel.at == 4
    grid = Grid.within(panel.board.width(), panel.board.height())
    for square, at in (("C3", 2), ("H8", 2), ("D4", 2), ("C4", 4)):
        place = grid.rect(SQUARES.index(square)).center().toPoint()
        qtbot.mouseClick(panel.board, Qt.MouseButton.LeftButton, pos=place)
        assert panel.at == at


def test_a_logit_marks_its_square_and_brings_its_probability(show, window: MainWindow) -> None:
    panel = show(game_circuit())
    assert "E3 75.0" in panel.chances.text()
    assert panel.board._predicted is None
    choose(window.session, OTHER)
    assert panel.board._predicted == SQUARES.index("B4")
    assert "The logit is of B4" in panel.board.accessibleDescription()
    choose(window.session, TOKEN)
    assert panel.board._predicted is None
    assert "75" not in panel.chances.text()
    assert "With its model loaded" in panel.chances.text()
    assert panel.load.isVisible()


def test_an_attention_score_is_told_as_moves(show, window: MainWindow) -> None:
    panel = show(game_circuit())
    choose(window.session, SCORE)
    assert "Head 5 at move 5 (C4) looks at move 2 (D6)." in texts(panel)


@pytest.mark.parametrize(
    ("moves", "said"),
    [
        (("F5", "A1"), "White may play"),
        (("F5", "<pad>"), "not a square"),
        (("<pad>",), "not a square"),
        (("F5", "F5"), "the square is taken"),
    ],
)
def test_tokens_that_are_no_game_are_told(
    moves: tuple[str, ...], said: str, show, window: MainWindow, qtbot: QtBot
) -> None:
    panel = show(game_circuit(moves))
    assert panel.headline.text() == "These tokens are not a game"
    assert said in panel.turn.text()
    assert not panel.back.isEnabled()
    for node in range(7):
        choose(window.session, node)
    qtbot.keyClick(panel.board, Qt.Key.Key_Left)
    assert not panel.board.grab().isNull()
    show(game_circuit())
    assert panel.headline.text() == "Move 5: C4 by Black"


def test_a_feature_shows_its_rule_averages_and_games(
    example: Path, show, window: MainWindow
) -> None:
    panel = show(game_circuit(digest=digest_of(example)))
    choose(window.session, FEATURE)
    (box,) = panel.findChildren(FeatureBoardsBox)
    assert "Best board rule: E3 mine (F1 0.93)." in texts(panel)
    shares = box.findChildren(SharesView)
    assert [view.accessibleName() for view in shares] == [
        "mine", "theirs", "empty", "turned", "last move", "legal"
    ]  # fmt: skip
    assert "E3 100" in shares[0].accessibleDescription()
    games = othello_boards.read(example / "boards.npz").examples[0]
    shown = [view.position for view in box.findChildren(PositionView)]
    assert [position.number for position in shown] == [10, 20, 30, 4, 5, 6]
    for game, position in zip(games, shown, strict=True):
        assert VOCABULARY[game[position.number - 1]] == position.move
    choose(window.session, ATTENTION)
    assert "does not say which dictionary" in texts(panel)
    assert not panel.findChildren(FeatureBoardsBox)


def test_another_dictionary_or_a_broken_file_leaves_the_position(
    example: Path, show, window: MainWindow
) -> None:
    panel = show(game_circuit(digest="of another one"))
    choose(window.session, FEATURE)
    assert "made with another dictionary mlp_out_3" in texts(panel)
    assert panel.headline.text() == "Move 3: C3 by Black"
    (example / "boards.npz").write_bytes(b"PK nothing")
    show(game_circuit(digest=digest_of(example)))
    choose(window.session, FEATURE)
    assert "The boards of features cannot be shown." in texts(panel)


def test_a_feature_that_the_file_does_not_know_is_told(
    example: Path, show, window: MainWindow
) -> None:
    known = othello_boards.read(example / "boards.npz")
    other = replace(known, unit=np.array([8], np.int16))
    othello_boards.write(example / "boards.npz", other)
    panel = show(game_circuit(digest=digest_of(example)))
    choose(window.session, FEATURE)
    assert "never made this feature active" in texts(panel)


def test_with_its_model_loaded_every_move_has_probabilities(
    tiny_othello: Path, show, window: MainWindow, finish_jobs, qtbot: QtBot
) -> None:
    session = window.session
    session.load_model(tiny_othello, device="cpu")
    finish_jobs(session)
    own = show(game_circuit(model=session.model.anatomy.as_json()))
    finish_jobs(session)
    QApplication.processEvents()
    (job,) = [job for job in session.jobs.jobs if isinstance(job.request, Predict)]
    assert job.state == "done"
    for at in (4, 0):
        own.go(at)
        chances = own.board._chances
        assert len(chances) == 60
        ids = job.result.token_ids[at]
        assert sorted(ids.tolist()) == list(range(61))
        first = next(token for token in ids.tolist() if token)
        assert max(chances, key=chances.get) == square_of(first)
        assert sum(job.result.probabilities[at]) == pytest.approx(1, abs=1e-5)
    assert "The model expects" in own.chances.text()
    assert own.load.isHidden()
    other = show(game_circuit())
    assert "Another model is loaded" in other.chances.text()
    assert len([job for job in session.jobs.jobs if isinstance(job.request, Predict)]) == 1


@pytest.mark.parametrize("palette", [LIGHT, DARK, HIGH_CONTRAST], ids=lambda found: found.name)
@pytest.mark.parametrize("side", [24, 90, 151, 300, 441])
def test_boards_are_drawn_at_any_size(palette, side: int, qtbot: QtBot) -> None:
    view = PositionView(palette, steps=True)
    qtbot.addWidget(view)
    view.resize(side, side)
    position = positions(MOVES)[-1]
    view.show_position(position, {19: 0.4, 20: 0.004, 0: 0.3}, 20)
    image = view.grab().toImage()
    grid = Grid.within(view.width(), view.height())
    here = grid.rect(SQUARES.index("C4")).center().toPoint()
    bare = grid.rect(SQUARES.index("H8")).center().toPoint()
    assert image.pixelColor(bare).name().upper() == palette.field.upper()
    assert image.pixelColor(here) != image.pixelColor(bare)
    assert grid.square_at(QPointF(here)) == SQUARES.index("C4")
    assert grid.square_at(QPointF(-5, 3)) is None


def test_a_tooltip_tells_everything_about_a_square(qtbot: QtBot) -> None:
    view = PositionView(LIGHT)
    qtbot.addWidget(view)
    view.resize(300, 300)
    view.show()
    position = positions(MOVES)[-1]
    legal = int(np.flatnonzero(position.legal)[0])
    view.show_position(position, {legal: 0.25}, legal)
    said = []
    for square in ("C4", "D4", SQUARES[legal], "H8"):
        point = Grid.within(view.width(), view.height()).rect(SQUARES.index(square)).center()
        view.event(QHelpEvent(QEvent.Type.ToolTip, point.toPoint(), QPoint(9, 9)))
        said.append(QToolTip.text())
    assert said[0] == "C4: theirs, the last move"
    assert said[1] == "D4: theirs, turned by this move"
    assert said[2].startswith(f"{SQUARES[legal]}: legal, explained by the logit, model 25.0")
    assert said[3] == "H8: empty"
