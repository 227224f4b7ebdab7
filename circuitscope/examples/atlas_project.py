"""The ready project of the atlas example: two circuits, drawn, tested, measured and compared.

1. Find the features of each state: transcoder features of block 0 that are active at the city's
   own position for most cities of the state and for few others. Find those of any question: active
   at the last word whatever the city.
2. Trace "the capital of the state containing Dallas is" -> Austin, and its sibling with Oakland.
3. Group what the trace found: the state's features, the attention features that carry it to the
   last word, those of any question, those that say the capital; pin the words; place all by hand.
4. Swap the state: at the city's position take the features of its state out, put those of the
   other state in at the strength they have for its own cities, and read the answer. Nothing else
   is held: the model computes everything after it.
5. Test the groups, trace by heads, measure on other cities of Texas, each with a city of
   California as its corrupted partner; compare Dallas with Oakland, beside Dallas rephrased
   (`investigation`).

Run `python -m circuitscope.examples.atlas_project` to make it again.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import circuitscope as cs
from circuitscope.core.circuit import Circuit
from circuitscope.core.shipped import shipped_path
from circuitscope.examples import atlas
from circuitscope.examples.investigation import (
    add_comparison,
    add_heads,
    add_measurement,
    add_tests,
    public,
)
from circuitscope.exchange.comparison import headline, noise
from circuitscope.project import verbs
from circuitscope.session.feature_work import take_along

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from circuitscope.models.loading import LoadedModel
    from circuitscope.project.file import ProjectFile

PROMPT = "the capital of the state containing {city} is"
REPHRASED = "the state containing Dallas has its capital in"
FLOOR = "Dallas rephrased"
CITY, LAST = 7, 8
STRENGTHS = (1.0, 2.0)
_SITE = cs.Site.MLP_TRANSCODER
_ACTIVE_HERE, _ACTIVE_ELSEWHERE, _ALWAYS = 0.6, 0.25, 0.95
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Firing:
    """When one transcoder's features fire on the cities' questions.

    Attributes:
        cities: Non-capital cities, in the order of the rows.
        value: Activation at one position of the question, float32 [city, feature].
        decoder: What each feature writes, float32 [feature, d_model].
    """

    cities: tuple[str, ...]
    value: NDArray[np.float32]
    decoder: NDArray[np.float32]

    def of(self, state: str) -> NDArray[np.int64]:
        """Return the features that a state's cities share and other cities mostly lack."""
        inside = np.array([atlas.state_of(city) == state for city in self.cities])
        here = (self.value[inside] > 0).mean(axis=0)
        elsewhere = (self.value[~inside] > 0).mean(axis=0)
        return np.flatnonzero((here >= _ACTIVE_HERE) & (elsewhere <= _ACTIVE_ELSEWHERE))

    def always(self) -> NDArray[np.int64]:
        """Return the features that fire whatever the city."""
        return np.flatnonzero((self.value > 0).mean(axis=0) >= _ALWAYS)

    def mean(self, state: str) -> NDArray[np.float32]:
        """Return the mean activation over a state's cities, [feature]."""
        inside = [atlas.state_of(city) == state for city in self.cities]
        return self.value[inside].mean(axis=0)

    def swap(self, city: str, state: str, strength: float) -> NDArray[np.float32]:
        """Return what to add to the MLP's output so that a city's features say another state."""
        return self._exchange(
            city, state, (self.of(atlas.state_of(city)), self.of(state)), strength
        )

    def random_swap(
        self, city: str, state: str, strength: float, random: np.random.Generator
    ) -> NDArray[np.float32]:
        """Return the same for as many other features that fire there: the control."""
        own, other = self.of(atlas.state_of(city)), self.of(state)
        here = np.setdiff1d(np.flatnonzero(self.value[self.cities.index(city)] > 0), own)
        there = np.setdiff1d(np.flatnonzero(self.mean(state) > 0), other)
        chosen = (
            random.choice(here, min(len(own), len(here)), replace=False),
            random.choice(there, min(len(other), len(there)), replace=False),
        )
        return self._exchange(city, state, chosen, strength)

    def _exchange(
        self,
        city: str,
        state: str,
        features: tuple[NDArray[np.int64], NDArray[np.int64]],
        strength: float,
    ) -> NDArray[np.float32]:
        out, into = features
        added = strength * self.mean(state)[into] @ self.decoder[into]
        return added - self.value[self.cities.index(city)][out] @ self.decoder[out]


def measure(model: LoadedModel, dictionaries: Sequence, layer: int, position: int) -> Firing:
    """Run every non-capital city's question and see what fires in a block's MLP at a position."""
    import torch

    transcoder = dictionaries[f"mlp_transcoder_{layer}"]
    n_features = transcoder.card.n_features
    cities = tuple(
        city
        for city in atlas.vocabulary()
        if atlas.is_city(city) and atlas.capital_of(atlas.state_of(city)) != city
    )
    value = np.zeros((len(cities), n_features), np.float32)
    for row, city in enumerate(cities):
        read = model.run(PROMPT.format(city=city)).site("mlp_in", layer)
        active = transcoder.encode(torch.as_tensor(read))
        here = np.asarray(active.position) == position
        value[row, np.asarray(active.unit)[here]] = np.asarray(active.value)[here]
    decoder = np.asarray(transcoder.decoder_rows(np.arange(n_features)), np.float32)
    return Firing(cities, value, decoder)


def answer(
    model: LoadedModel, city: str, added: NDArray[np.float32] | None = None
) -> NDArray[np.float64]:
    """Return the probability of every token after a city's question, [d_vocab].

    Args:
        model: The atlas model.
        city: The city asked for.
        added: What is added to block 0's MLP output at the city's position, [d_model].
    """
    change = (
        [cs.Intervention("mlp_out", 0, positions=[CITY], mode="add", value=added)]
        if added is not None
        else []
    )
    logits = model.run(PROMPT.format(city=city), change).logits[-1].astype(np.float64)
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def swap_report(model: LoadedModel, found: Firing) -> list[str]:
    """Return what swapping states does: Dallas to California, and every city to every state."""
    lines = []
    ids = {name: model.find_token(name) for name in map(atlas.capital_of, atlas.states())}
    pairs = [
        (city, state)
        for city in found.cities
        for state in atlas.states()
        if state != atlas.state_of(city)
    ]

    def wins(city: str, state: str, added: NDArray[np.float32]) -> bool:
        return int(answer(model, city, added).argmax()) == ids[atlas.capital_of(state)]

    for strength in STRENGTHS:
        before = answer(model, "Dallas")
        after = answer(model, "Dallas", found.swap("Dallas", "California", strength))
        random = np.random.default_rng(0)
        hits = [wins(*pair, found.swap(*pair, strength)) for pair in pairs]
        control = [wins(*pair, found.random_swap(*pair, strength, random)) for pair in pairs]
        lines.append(
            f"Strength {strength:g}: Dallas as California turns Austin "
            f"{before[ids['Austin']]:.1%} into {after[ids['Austin']]:.1%} and Sacramento "
            f"{before[ids['Sacramento']]:.1%} into {after[ids['Sacramento']]:.1%}; over all "
            f"{len(pairs)} pairs of a city and another state the other capital wins in "
            f"{np.mean(hits):.1%}, and in {np.mean(control):.1%} when as many other features "
            "that fire there are swapped."
        )
    return lines


def draw(
    project: ProjectFile, name: str, own: Sequence[int], always: dict[int, NDArray[np.int64]]
) -> None:
    """Group, pin, name and place a circuit as a person would.

    Args:
        project: Holds the circuit under the city's name.
        name: The city.
        own: Features of the city's state in block 0.
        always: Features of any city's question, by block.
    """
    circuit, drawing = project.circuits()[name], project.drawing(name)
    key, root, state = circuit.nodes.key, int(circuit.roots[0]), atlas.state_of(name)
    states = _nodes(circuit, _SITE, 0, CITY, units=own)
    say = _strongest(circuit, root, _SITE, 3, most=4)
    carried = _strongest_between(circuit, states, say, most=6)
    any_city = [n for layer, u in always.items() for n in _nodes(circuit, _SITE, layer, LAST, u)]
    any_city.sort(key=lambda node: -circuit.nodes.influence[node])
    drawing.set_view(node_threshold=0.6, edge_threshold=0.9)
    for node in states:
        drawing.label(key(node), state)
    groups = {
        text: drawing.group([key(node) for node in nodes], text, color)
        for text, nodes, color in (
            (state, states, "teal"),
            (f"bring {state} to “is”", carried, "violet"),
            ("any city’s question", any_city[:6], "amber"),
            (f"say {circuit.labels[root]}", say, "sky"),
        )
    }
    ends = [_token(circuit, CITY), _token(circuit, LAST), root]
    drawing.pin(*(key(node) for node in ends))
    spots = ((560.0, 320.0), (470.0, 210.0), (150.0, 265.0), (350.0, 100.0))
    drawing.place(
        {
            **dict(zip(groups.values(), spots, strict=True)),
            key(ends[0]): (560.0, 430.0),
            key(ends[1]): (190.0, 430.0),
            key(root): (365.0, 0.0),
        }
    )


def _nodes(
    circuit: Circuit, site: cs.Site, layer: int, position: int, units: Sequence[int] | None = None
) -> list[int]:
    nodes = circuit.nodes
    mask = (nodes.site == site) & (nodes.layer == layer) & (nodes.position == position)
    mask &= nodes.of_kind(cs.NodeKind.FEATURE)
    if units is not None:
        mask &= np.isin(nodes.unit, np.asarray(units))
    return [int(i) for i in np.flatnonzero(mask)]


def _token(circuit: Circuit, position: int) -> int:
    tokens = circuit.nodes.of_kind(cs.NodeKind.TOKEN) & (circuit.nodes.position == position)
    return int(np.flatnonzero(tokens)[0])


def _strongest(circuit: Circuit, target: int, site: cs.Site, layer: int, most: int) -> list[int]:
    """Return the features of one place that push a target up most."""
    wanted = set(_nodes(circuit, site, layer, LAST))
    edges = [e for e in circuit.inputs(target) if e.weight > 0 and e.source.index in wanted]
    return [edge.source.index for edge in edges[:most]]


def _strongest_between(
    circuit: Circuit, below: Sequence[int], above: Sequence[int], most: int
) -> list[int]:
    """Return the block 2 attention features that carry most from one set of nodes to another."""
    edges, carried = circuit.edges, {}
    for node in _nodes(circuit, cs.Site.ATTN_OUT, 2, LAST):
        into = edges.into(node)
        total = np.abs(edges.weight[into]).sum()
        arrives = edges.weight[into][np.isin(edges.source[into], below)].sum() / total
        out = edges.out_of(node)
        leaves = edges.weight[out][np.isin(edges.target[out], above)].sum()
        carried[node] = float(max(arrives, 0.0) * max(leaves, 0.0))
    return sorted((n for n in carried if carried[n] > 0), key=lambda n: -carried[n])[:most]


def unseen_pairs() -> list[cs.PromptPair]:
    """Return questions that Dallas was not traced on: other cities of Texas and of California."""

    def cities(state: str, traced: str) -> list[str]:
        known = [city for city in atlas.vocabulary() if atlas.is_city(city)]
        left_out = (traced, atlas.capital_of(state))
        return [c for c in known if atlas.state_of(c) == state and c not in left_out]

    return [
        cs.PromptPair(PROMPT.format(city=here), PROMPT.format(city=there))
        for here, there in zip(
            cities("Texas", "Dallas"), cities("California", "Oakland"), strict=True
        )
    ]


def build(folder: Path) -> Path:
    """Make `capitals.circuitscope` in the example's folder.

    Args:
        folder: Holds `model` and `dictionaries`.

    Returns:
        The project's path.
    """
    model = cs.load_model(folder / "model")
    dictionaries = cs.load_dictionaries(folder / "dictionaries")
    found = measure(model, dictionaries, 0, CITY)
    always = {layer: measure(model, dictionaries, layer, LAST).always() for layer in range(3)}
    path = folder / "capitals.circuitscope"
    with cs.new_project(path, overwrite=True) as project:

        def add(name: str, prompt: str, capital: str) -> None:
            circuit = public(
                cs.trace(
                    model, prompt, dictionaries=dictionaries, mlp="transcoder",
                    targets=[f"logit:{capital}"],
                )
            )  # fmt: skip
            added = project.add(circuit, name=name)
            list(take_along(project, added, circuit, [folder / "dictionaries"]))

        for city in ("Dallas", "Oakland"):
            state = atlas.state_of(city)
            add(city, PROMPT.format(city=city), atlas.capital_of(state))
            draw(project, city, found.of(state).tolist(), always)
            add_tests(model, dictionaries, project, city)
        add(FLOOR, REPHRASED, "Austin")
        add_heads(model, project, "Dallas")
        add_measurement(model, dictionaries, project, "Dallas", unseen_pairs())
        compared = add_comparison(model, dictionaries, project, ("Dallas", "Oakland", FLOOR))
        log.info("%s", "\n".join([*headline(compared), *noise(compared)]))
        report = "\n".join([_WHAT, *swap_report(model, found)])
        log.info("%s", report)
        project.contents.commit(verbs.project_note(project, report))
        project.settle()
        project.save()
        cs.export(project, folder / "capitals.png", circuit="Dallas", what="circuit", dpi=72)
    return path


_WHAT = (
    "Where is the step in between? Block 0's MLP writes the state at the city's own position; "
    "block 2's attention brings it to “is”. Tested on the whole model, nothing held: at the "
    "city's position, the features of its state (group in teal) are taken out and those of the "
    "other state put in, at their mean strength over its cities or twice that, which is beyond "
    "what they reach by themselves. The groups were chosen on the cities they are scored on. "
    "The features were started as one per state; how, "
    "and how the model came to name the state at the city, is told in the cards of the "
    "dictionaries and the model."
)


def main() -> None:
    """Make the project again."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=build.__doc__)
    parser.add_argument("--folder", type=Path, default=shipped_path("projects", "atlas"))
    build(parser.parse_args().folder)


if __name__ == "__main__":
    main()
