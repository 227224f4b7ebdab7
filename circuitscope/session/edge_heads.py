"""Which heads an edge through attention passes, asked of the engine once for each edge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psygnal import Signal

from circuitscope.engine.reasons import AttentionReasons

if TYPE_CHECKING:
    from circuitscope.session.jobs import Job
    from circuitscope.session.session import Session

_KEPT = 512


class EdgeHeads:
    """Ask for and remember the heads, places and pattern weights behind edges.

    Args:
        session: Whose active circuit's edges are meant.
    """

    told = Signal(int)
    """Emitted with an edge of the active circuit once its heads are known."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: dict[tuple[str, int], AttentionReasons] = {}
        self._asked: dict[tuple[str, int], Job] = {}

    def known(self, edge: int) -> AttentionReasons | None:
        """Return the parts of an edge of the active circuit, None before they were asked for."""
        circuit = self._session.circuit
        return None if circuit is None else self._known.get((circuit.digest, edge))

    def ask(self, edge: int) -> Job | None:
        """Ask the engine for an edge's parts; None where they are known.

        Raises:
            CircuitScopeError: No model is chosen, or the circuit was not traced here.
        """
        circuit = self._session.circuit
        if circuit is None or self.known(edge) is not None:
            return None
        key = (circuit.digest, edge)
        job = self._asked.get(key)
        if job is None or job.is_over:
            job = self._session.explain_attention(edge, most=0)
            self._asked[key] = job
            job.changed.connect(lambda job: self._heard(key, job))
        return job

    def _heard(self, key: tuple[str, int], job: Job) -> None:
        if not job.is_over:
            return
        self._asked.pop(key, None)
        if job.state == "done":
            if len(self._known) >= _KEPT:
                self._known.pop(next(iter(self._known)))
            self._known[key] = job.result
            circuit = self._session.circuit
            if circuit is not None and circuit.digest == key[0]:
                self.told.emit(key[1])
