"""Prompts that circuits are measured on: a clean one, maybe its corrupted partner, and a metric."""

from __future__ import annotations

from dataclasses import dataclass

from circuitscope.core.metrics import Metric

Text = str | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PromptPair:
    """One prompt to measure on.

    Attributes:
        clean: The prompt, a text or token ids.
        corrupted: A prompt of as many tokens with another answer; None for none.
        metric: What is read; None takes what the circuit explains.
    """

    clean: Text
    corrupted: Text | None = None
    metric: Metric | None = None
