"""What was measured of a dictionary that was trained here, as plain numbers."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class SenseSeparation:
    """How a dictionary's strongest features judge pairs; "same" is the positive answer.

    Attributes:
        n_pairs: Pairs that were judged.
        n_left_out: Pairs whose word was not found, or where no feature is active.
        accuracy: Share judged rightly. precision: Of those judged same, how many are. recall: Of
            the same, how many are judged so. specificity: Of the different, how many are judged
            different. f1: Of precision and recall. 0 where there is nothing to divide by.
    """

    n_pairs: int
    n_left_out: int
    accuracy: float
    precision: float
    recall: float
    specificity: float
    f1: float


@dataclass(frozen=True, slots=True)
class DictionaryQuality:
    """What was measured of a dictionary on texts that it was not trained on.

    Attributes:
        n_tokens: Positions, the first of each text left out.
        explained_variance: 1 - squared error / squared distance from the mean, 1 at best.
        l0: Mean number of active features.
        dead_share: Share of features that were never active.
        dense_share: Share of features that were active on more than a tenth of the positions.
        loss: Of the next token, nats, as the model is.
        loss_spliced: With what the dictionary rebuilds in place.
        loss_without: With zeros in place.
        curve: L0 and explained variance with only the strongest features of every position.
        senses: How it tells senses of words apart; None where no pairs were given.
    """

    n_tokens: int
    explained_variance: float
    l0: float
    dead_share: float
    dense_share: float
    loss: float
    loss_spliced: float
    loss_without: float
    curve: tuple[tuple[float, float], ...] = ()
    senses: SenseSeparation | None = None

    @property
    def loss_kept(self) -> float:
        """Return which share of what the site does for the loss the dictionary keeps."""
        worth = self.loss_without - self.loss
        return (self.loss_without - self.loss_spliced) / worth if worth else 0.0

    def metrics(self) -> dict[str, float]:
        """Return the plain numbers, as configurations of dictionaries keep them."""
        plain = {k: float(v) for k, v in asdict(self).items() if isinstance(v, (int, float))}
        found = plain | {"loss_kept": self.loss_kept}
        if self.senses is not None:
            found |= {f"senses_{k}": float(v) for k, v in asdict(self.senses).items()}
        return {name: round(value, 6) for name, value in found.items()}

    def as_json(self) -> dict[str, Any]:
        """Return a plain dictionary for files."""
        return asdict(self) | {"loss_kept": self.loss_kept}

    def lines(self) -> list[str]:
        """Return the report in words."""
        found = [
            f"explains {self.explained_variance:.1%} of the variance with {self.l0:.1f} active "
            f"features a position ({self.n_tokens} positions it was not trained on)",
            f"{self.dead_share:.1%} of the features were never active, {self.dense_share:.1%} on "
            "more than a tenth of the positions",
            f"loss of the next token: {self.loss:.3f} as it is, {self.loss_spliced:.3f} with the "
            f"dictionary in place, {self.loss_without:.3f} with nothing there: keeps "
            f"{self.loss_kept:.1%}",
            "only the strongest features: "
            + ", ".join(f"{l0:.1f} explain {variance:.1%}" for l0, variance in self.curve),
        ]
        if self.senses is not None:
            one = self.senses
            found.append(
                f"senses of words: accuracy {one.accuracy:.2f}, specificity {one.specificity:.2f}, "
                f"recall {one.recall:.2f} on {one.n_pairs} pairs ({one.n_left_out} left out)"
            )
        return found


@dataclass(frozen=True, slots=True)
class TrainedDictionary:
    """Where a dictionary was written, and what was measured of it."""

    path: str
    quality: DictionaryQuality
