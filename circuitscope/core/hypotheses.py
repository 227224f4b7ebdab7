"""Hypothesis tests of a circuit over prompts (Shi et al. 2024, arXiv 2410.13032).

- Equivalence: do circuit and model do better equally often? Rejected where one wins more often
  than chance allows, up to a tolerance.
- Independence: with the circuit taken out, is what is left independent of the whole model's
  answers? Rejected (HSIC, permutations) where the rest still follows them.
- Minimality: does each edge do more than edges at random do that are added to the circuit?
- Sufficiency: is it closer to the model than random circuits of as many edges?
"""

from math import comb

import numpy as np
from numpy.typing import ArrayLike, NDArray

TOLERANCE = 0.1


def equivalence(circuit: ArrayLike, model: ArrayLike, tolerance: float = TOLERANCE) -> float:
    """Return p that a difference as lopsided arises where both do better equally often.

    Args:
        circuit: The metric of each prompt with the circuit alone.
        model: The same of the whole model.
        tolerance: How far from 1/2 the share of wins may truly be.
    """
    gap = np.asarray(circuit, float) - np.asarray(model, float)
    gap = gap[gap != 0]
    n = len(gap)
    if not n:
        return 1.0
    far = max(int((gap > 0).sum()), int((gap < 0).sum()))
    chance = 0.5 + tolerance
    upper = sum(comb(n, k) * chance**k * (1 - chance) ** (n - k) for k in range(far, n + 1))
    lower = sum(comb(n, k) * chance**k * (1 - chance) ** (n - k) for k in range(n - far + 1))
    return float(min(1.0, upper + (lower if far != n - far else 0.0)))


def independence(rest: ArrayLike, model: ArrayLike, n: int = 1000, seed: int = 0) -> float:
    """Return p that what is left without the circuit is independent of the model's answers.

    Args:
        rest: The metric of each prompt without the circuit.
        model: The same of the whole model.
        n: Permutations.
        seed: Seeds them.
    """
    a, b = (_centred(_similarity(np.asarray(x, float))) for x in (rest, model))
    random = np.random.default_rng(seed)
    found = float((a * b).sum())
    size = 1e-12 * max(1.0, abs(found))
    as_large = 0
    for _ in range(n):
        order = random.permutation(len(b))
        as_large += float((a * b[np.ix_(order, order)]).sum()) >= found - size
    return (1 + as_large) / (1 + n)


def _similarity(x: NDArray[np.float64]) -> NDArray[np.float64]:
    distance = np.abs(x[:, None] - x[None, :])
    width = np.median(distance[distance > 0]) if (distance > 0).any() else 1.0
    kernel: NDArray[np.float64] = np.exp(-((distance / width) ** 2) / 2)
    return kernel


def _centred(k: NDArray[np.float64]) -> NDArray[np.float64]:
    centred: NDArray[np.float64] = k - k.mean(0) - k.mean(1)[:, None] + k.mean()
    return centred


def beyond(own: ArrayLike, reference: ArrayLike) -> NDArray[np.float64]:
    """Return for each value the share of reference values at least as large, itself counted."""
    values, others = np.asarray(own, float), np.asarray(reference, float)
    as_large = (others[None, :] >= values[:, None]).sum(1)
    found: NDArray[np.float64] = (1 + as_large) / (1 + len(others))
    return found
