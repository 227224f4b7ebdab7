"""The board panel of the Othello example: the position at the selected move, and what features see.

It follows the selection: a node or a column shows the board after its token. Its own buttons, the
slider and the arrow keys select the column of another move. Probabilities come from the engine
where the circuit's model is loaded; without it, from the circuit's own logits.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QLabel, QSlider, QToolButton, QVBoxLayout, QWidget

from circuitscope.app.bridge import to_gui
from circuitscope.app.desk import Desk
from circuitscope.app.later import Later
from circuitscope.app.naming import kind_line
from circuitscope.app.panels.board_features import FeatureBoardsBox
from circuitscope.app.panels.board_view import PositionView, key_pictures
from circuitscope.app.theme import icon
from circuitscope.app.widgets import MARGIN, button, clear, hairline, look, scrolled, text_label
from circuitscope.app.words import probability, tr
from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import CircuitScopeError
from circuitscope.core.keys import NodeKind
from circuitscope.core.shipped import shipped_path
from circuitscope.engine.requests import Predictions
from circuitscope.examples import othello, othello_views
from circuitscope.examples.othello import SQUARES, VOCABULARY
from circuitscope.examples.othello_views import BoardEvidence, Position, square_of
from circuitscope.session import feature_work
from circuitscope.session.jobs import Job

_NAMED = 3


class OthelloBoard:
    """Register the panel; see `app.example_panels.ExamplePanel`."""

    prompt = "F5 D6 C3 D3"

    @property
    def title(self) -> str:
        """Return what the dock is called."""
        return tr("Board")

    def fits(self, model: Mapping[str, Any], tokens: Sequence[str]) -> bool:
        """Say whether a model reads games of Othello."""
        return othello_views.fits(model, tokens)

    def check_prompt(self, text: str) -> None:
        """Refuse squares that do not exist and moves that are not legal."""
        othello.read(text)

    def make(self, desk: Desk) -> QWidget:
        """Make the panel."""
        return BoardPanel(desk)


class BoardPanel(QWidget):
    """Show the board after a move, step through the game, and tell of the selected node.

    Attributes:
        at: Which move is shown, from 0; -1 where there is none.
    """

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._desk = desk
        self.at = -1
        self._active = ""
        self._positions: tuple[Position, ...] = ()
        self._node: int | None = None
        self._told: tuple[str, int | None] | None = None
        self._stepping = False
        self._evidence = BoardEvidence(shipped_path("projects", "othello"))
        self._job: Job | None = None
        self._predictions: Predictions | None = None
        self.setObjectName("PanelBody")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setAccessibleName(tr("Board"))
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        inside = QWidget()
        self._fill(inside)
        self._scroll = scrolled(inside)
        outer.addWidget(self._scroll)
        self._later = Later(self, self.refresh)
        watch = desk.watch
        for signal in (watch.selection, watch.active, watch.project, watch.model):
            signal.connect(lambda *_: self._later.within())
        watch.model.connect(lambda *_: self._model_changed())
        self.refresh()

    # ---- building --------------------------------------------------------------------------
    def _fill(self, inside: QWidget) -> None:
        column = QVBoxLayout(inside)
        column.setContentsMargins(MARGIN, 4, MARGIN, MARGIN)
        column.setSpacing(6)
        self.headline = text_label("", "heading", wrap=True)
        self.turn = text_label("", "small", wrap=True)
        self.board = PositionView(self._desk.palette, steps=True)
        self.board.setAccessibleName(tr("Board"))
        self.board.stepped.connect(lambda by: self.go(self.at + by))
        self.board.picked.connect(self._go_to_square)
        for widget in (self.headline, self.turn, self.board):
            column.addWidget(widget)
        column.addLayout(self._stepper())
        self.chances = text_label("", "small", wrap=True)
        column.addWidget(self.chances)
        self.load = button(tr("Choose model…"), "link", lambda: self._desk.trigger("trace.model"))
        column.addWidget(self.load, 0, Qt.AlignmentFlag.AlignLeft)
        column.addWidget(_key(self._desk))
        self._about = QVBoxLayout()
        self._about.setSpacing(6)
        column.addLayout(self._about)
        column.addStretch()

    def _stepper(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(4)
        self.back = self._step_button("chevron-left", tr("Move before"), -1)
        self.on = self._step_button("chevron-right", tr("Next move"), 1)
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setAccessibleName(tr("Move"))
        self.slider.setMinimum(1)
        self.slider.valueChanged.connect(lambda number: self.go(number - 1))
        row.addWidget(self.back)
        row.addWidget(self.slider, 1)
        row.addWidget(self.on)
        return row

    def _step_button(self, picture: str, words: str, by: int) -> QToolButton:
        made = QToolButton()
        made.setIcon(icon(picture, self._desk.palette))
        made.setIconSize(QSize(16, 16))
        made.setProperty("look", "quiet")
        made.setToolTip(words)
        made.setAccessibleName(words)
        made.clicked.connect(lambda *_: self.go(self.at + by))
        return made

    # ---- following the session -----------------------------------------------------------
    def showEvent(self, event: QShowEvent) -> None:
        """Catch up with what happened out of sight."""
        super().showEvent(event)
        self._later.within()

    def refresh(self) -> None:
        """Show the session as it is now."""
        session = self._desk.session
        circuit = session.circuit
        if circuit is None or not othello_views.fits(circuit.provenance.model, circuit.tokens):
            self._forget()
            return
        if session.active != self._active:
            self._forget()
            self._active = session.active
            self._read(circuit)
        self._follow_selection(circuit)
        if self._positions:
            self._ask(circuit)
            self._show(circuit)
        self._tell(circuit)

    def _forget(self) -> None:
        self._active, self._positions, self.at, self._node = "", (), -1, None
        self._predictions, self._told = None, None
        job, self._job = self._job, None
        if job is not None and not job.is_over:
            self._desk.session.jobs.cancel(job)
        clear(self._about)

    def _read(self, circuit: Circuit) -> None:
        """Play the circuit's tokens; a sequence that is no game is told and not drawn."""
        problem = ""
        try:
            self._positions = othello_views.positions(circuit.tokens)
        except CircuitScopeError as error:
            problem = " ".join(part for part in (error.message, error.hint) if part)
        self.at = len(self._positions) - 1
        self.slider.blockSignals(True)
        self.slider.setMaximum(max(1, len(self._positions)))
        self.slider.blockSignals(False)
        for widget in (self.slider, self.back, self.on, self.board):
            widget.setEnabled(bool(self._positions))
        if not self._positions:
            self.board.show_position(None)
            self.headline.setText(tr("These tokens are not a game"))
            self.turn.setText(problem or tr("There is no move to show."))
            self._say_chances("")
        look(self.turn, "error" if problem else "small")

    def _follow_selection(self, circuit: Circuit) -> None:
        chosen = self._desk.session.selection
        if chosen:
            place = int(circuit.nodes.position[chosen[-1]])
            self.at = place if 0 <= place < len(self._positions) else self.at
        if len(chosen) == 1:
            self._node = chosen[0]
        elif not chosen and not self._stepping:
            self._node = None
        self._stepping = False

    def go(self, at: int) -> None:
        """Show another move and select its column."""
        at = min(max(at, 0), len(self._positions) - 1)
        circuit = self._desk.session.circuit
        if circuit is None or at in (-1, self.at):
            return
        self.at, self._stepping = at, True
        shown = self._desk.session.pruned().node_mask & (circuit.nodes.position == at)
        self._desk.session.select(np.flatnonzero(shown).tolist())
        self._later.stop()
        self.refresh()

    def _go_to_square(self, square: int) -> None:
        """Show the move that was made on a square."""
        made = (at for at, position in enumerate(self._positions) if position.square == square)
        self.go(next(made, self.at))

    # ---- the position ----------------------------------------------------------------------
    def _show(self, circuit: Circuit) -> None:
        position = self._positions[self.at]
        self.headline.setText(position.headline())
        self.turn.setText(position.turn())
        chances = self._chances(circuit)
        self.board.show_position(position, chances, self._predicted(circuit))
        self.slider.blockSignals(True)
        self.slider.setValue(position.number)
        self.slider.blockSignals(False)
        self.back.setEnabled(self.at > 0)
        self.on.setEnabled(self.at < len(self._positions) - 1)
        self._say_chances(self._chance_words(circuit, position, chances))
        self.load.setVisible(self._desk.session.model.state in ("none", "failed"))

    def _predicted(self, circuit: Circuit) -> int | None:
        """Return the square of the selected logit, at the move it comes after."""
        if self._node is None:
            return None
        key = circuit.nodes.key(self._node)
        is_here = key.kind is NodeKind.LOGIT and key.position == self.at
        return square_of(key.unit) if is_here else None

    def _chances(self, circuit: Circuit) -> dict[int, float]:
        found: dict[int, float] = {}
        if self._predictions is not None:
            ids, shares = self._predictions.token_ids, self._predictions.probabilities
            known = list(zip(ids[self.at].tolist(), shares[self.at].tolist(), strict=True))
        else:
            keys = [(circuit.nodes.key(root), int(root)) for root in circuit.roots.tolist()]
            known = [
                (key.unit, share) for key, root in keys
                if key.position == self.at and (share := circuit.probability(root)) is not None
            ]  # fmt: skip
        for token, share in known:
            square = square_of(token)
            if square is not None:
                found[square] = share
        return found

    def _chance_words(
        self, circuit: Circuit, position: Position, chances: Mapping[int, float]
    ) -> str:
        if self._predictions is not None:
            best = max(chances, key=lambda square: chances[square])
            legal = sum(share for square, share in chances.items() if position.legal[square])
            return tr("The model expects {0} ({1}); {2} of it is on legal squares.").format(
                SQUARES[best], probability(chances[best]), probability(legal)
            )
        state = self._waiting(circuit)
        if not chances:
            return state
        first = sorted(chances, key=lambda square: -chances[square])[:_NAMED]
        said = ", ".join(f"{SQUARES[square]} {probability(chances[square])}" for square in first)
        return tr("This circuit explains {0}.").format(said) + " " + state

    def _waiting(self, circuit: Circuit) -> str:
        """Say why the model's probabilities of every move are not shown."""
        model = self._desk.session.model
        if self._job is not None and self._job.state == "failed" and self._job.error is not None:
            return self._job.error.message
        if model.state == "loading" or (self._job is not None and not self._job.is_over):
            return tr("Asking the model…")
        if model.state == "ready" and not self._is_own_model(circuit):
            return tr("Another model is loaded than the one this circuit was made with.")
        return tr("With its model loaded, the probabilities of every move stand here.")

    def _say_chances(self, words: str) -> None:
        self.chances.setText(words)
        self.chances.setVisible(bool(words))
        self.load.setVisible(bool(words))

    # ---- the model ---------------------------------------------------------------------------
    def _is_own_model(self, circuit: Circuit) -> bool:
        anatomy, made_with = self._desk.session.model.anatomy, circuit.provenance.model
        return anatomy is not None and bool(anatomy.digest) and (
            anatomy.digest == made_with.get("digest")
        )  # fmt: skip

    def _model_changed(self) -> None:
        """Ask anew, where the model before gave no answer."""
        if self._job is not None and self._job.is_over and self._predictions is None:
            self._job = None

    def _ask(self, circuit: Circuit) -> None:
        """Ask the engine once for what could follow each move."""
        ready = self._desk.session.model.state == "ready" and self._is_own_model(circuit)
        if self._job is not None or not ready or not self.isVisible():
            return
        job = self._job = self._desk.session.predict(circuit.token_ids, len(VOCABULARY))

        def hear(job: Job) -> None:
            if job is self._job and job.is_over:
                self._predictions = job.result if job.state == "done" else None
                self._later.within()

        to_gui(job.changed, hear, self)

    # ---- the selected node ---------------------------------------------------------------------
    def _tell(self, circuit: Circuit) -> None:
        if self._told == (self._active, self._node):
            return
        self._told = (self._active, self._node)
        clear(self._about)
        if self._node is None:
            return
        key = circuit.nodes.key(self._node)
        if key.kind is NodeKind.FEATURE:
            found = self._evidence.find(circuit, self._node)
            self._add_title(kind_line(circuit, self._node))
            page = feature_work.page(self._desk.session, self._node)
            if isinstance(found, str) and (page is None or not page.examples):
                self._about.addWidget(text_label(found, "quiet", wrap=True))
            else:
                self._about.addWidget(FeatureBoardsBox(self._desk.palette, found, page))
        elif key.kind is NodeKind.SCORE:
            self._add_title(kind_line(circuit, self._node))
            self._about.addWidget(text_label(self._score_words(circuit), "", wrap=True))

    def _add_title(self, words: str) -> None:
        self._about.addWidget(hairline())
        self._about.addWidget(text_label(words, "strong", wrap=True))

    def _score_words(self, circuit: Circuit) -> str:
        assert self._node is not None
        key = circuit.nodes.key(self._node)
        context = int(circuit.provenance.model.get("n_ctx") or othello.MOVES)
        head, read = divmod(key.unit, context)
        known = range(len(self._positions))
        if key.position not in known or read not in known:
            return ""
        ends = [self._positions[place] for place in (key.position, read)]
        (asking, number), (asked, other) = ((end.move, end.number) for end in ends)
        return tr("Head {0} at move {1} ({2}) looks at move {3} ({4}).").format(
            head, number, asking, other, asked
        )


def _key(desk: Desk) -> QWidget:
    """Make the line that says what the marks mean."""
    from superqt import QFlowLayout  # slow to import; only boards and dialogs need it

    box = QWidget()
    flow = QFlowLayout(box)
    flow.setContentsMargins(0, 0, 0, 0)
    flow.setSpacing(6)
    for picture, words in key_pictures(desk.palette):
        entry = QWidget()
        row = QHBoxLayout(entry)
        row.setContentsMargins(0, 0, 4, 0)
        row.setSpacing(4)
        image = QLabel()
        image.setPixmap(picture)
        row.addWidget(image)
        row.addWidget(text_label(words, "small"))
        flow.addWidget(entry)
    return box
