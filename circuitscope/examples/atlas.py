"""Generate the sentences of the atlas example and the prompts that test a model of them.

The corpus is our own: short sentences in a vocabulary of whole words, written by the rules below
from the tables in `atlas_words`. It trains six behaviours whose mechanism a user can look for:

1. one_hop: "Dallas is in Texas", "the capital of Texas is Austin".
2. two_hop: "the capital of the state containing Dallas is Austin".
3. held_out_two_hop: the same for 15 % of the cities, which occur in no two-hop sentence of the
   corpus. A model that answers them has to go through the state.
4. indirect_object: "when Mary and John went to the shop , John gave a book to Mary".
5. agreement: "the key to the cabinets is old".
6. induction: a random sequence of words, repeated.

Everything is decided by the seed. Words are separated by single spaces, punctuation included, and
only names begin with a capital letter.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from circuitscope.examples.atlas_words import (
    ADJECTIVES,
    CITIES,
    NAMES,
    NOUNS,
    OBJECTS,
    PLACES,
    PREPOSITIONS,
    SPECIAL_TOKENS,
    STATES,
)

__all__ = [
    "BEHAVIOURS",
    "STATES",
    "Example",
    "capital_of",
    "evaluation_sets",
    "examples",
    "held_out_cities",
    "is_city",
    "sentences",
    "state_of",
    "states",
    "vocabulary",
]

BEHAVIOURS = (
    "one_hop",
    "two_hop",
    "held_out_two_hop",
    "indirect_object",
    "agreement",
    "induction",
)

# Share of the corpus; held_out_two_hop is never trained on.
_MIXTURE = {
    "one_hop": 0.2,
    "two_hop": 0.26,
    "indirect_object": 0.14,
    "agreement": 0.1,
    "induction": 0.3,
}
_HELD_OUT_SHARE = 0.15
_HELD_OUT_SEED = 4
_SECOND_SENTENCE_SHARE = 0.2

_CITY_TEMPLATES = (
    "{city} is in {state}",
    "{city} is a city in {state}",
    "the city of {city} is in {state}",
    "the state containing {city} is {state}",
)
_CAPITAL_TEMPLATES = (
    "the capital of {state} is {capital}",
    "the state of {state} has its capital in {capital}",
)
_REVERSE_TEMPLATE = "{capital} is the capital of {state}"
_TWO_HOP_TEMPLATES = (
    "the capital of the state containing {city} is {capital}",
    "the state containing {city} has its capital in {capital}",
    "for people in {city} the state capital is {capital}",
)
_INDIRECT_OBJECT_TEMPLATES = (
    "when {a} and {b} went to the {place} , {subject} gave a {object} to {indirect}",
    "after {a} and {b} left the {place} , {subject} handed a {object} to {indirect}",
    "while {a} and {b} were at the {place} , {subject} passed a {object} to {indirect}",
    "once {a} and {b} reached the {place} , {subject} offered a {object} to {indirect}",
    "{a} and {b} met at the {place} , and {subject} sent a {object} to {indirect}",
    "yesterday {a} and {b} sat in the {place} , then {subject} showed a {object} to {indirect}",
)
_AGREEMENT_TEMPLATE = "the {noun} {preposition} the {attractor} {verb} {adjective}"
_PLAIN_AGREEMENT_TEMPLATE = "the {noun} {verb} {adjective}"
_PLAIN_AGREEMENT_SHARE = 0.15
_REPEATED_LENGTHS = range(4, 13)
_SHORT_REPEATED_LENGTHS = range(4, 8)
_THIRD_REPEAT_SHARE = 0.5

_STATE_OF = {city: state for state, cities in CITIES.items() for city in cities}


@dataclass(frozen=True, slots=True)
class Example:
    """Hold a prompt and the one word that has to follow it.

    Attributes:
        prompt: Words separated by spaces, without special tokens.
        answer: The next word.
        behaviour: One of `BEHAVIOURS`.
        rest: What follows the answer in a sentence of the corpus, often nothing.
    """

    prompt: str
    answer: str
    behaviour: str
    rest: str = ""

    @property
    def sentence(self) -> str:
        """Return the whole sentence, with its full stop."""
        return " ".join(part for part in (self.prompt, self.answer, self.rest, ".") if part)


def states() -> tuple[str, ...]:
    """List the states in alphabetical order."""
    return tuple(sorted(STATES))


def capital_of(place: str) -> str:
    """Return the capital of a state, or of the state that contains a city."""
    return STATES[_STATE_OF.get(place, place)]


def state_of(city: str) -> str:
    """Return the state that contains a city."""
    return _STATE_OF[city]


def is_city(word: str) -> bool:
    """Tell whether a word is a city of the table."""
    return word in _STATE_OF


def held_out_cities() -> frozenset[str]:
    """Return the cities that occur in no two-hop sentence of the corpus.

    At most one city of each state is held out, and never a capital.
    """
    generator = random.Random(_HELD_OUT_SEED)
    candidates = [generator.choice(CITIES[state][1:]) for state in states()]
    count = round(_HELD_OUT_SHARE * sum(len(cities) - 1 for cities in CITIES.values()))
    return frozenset(generator.sample(candidates, count))


def vocabulary() -> tuple[str, ...]:
    """List every token: the special ones first, then the words in alphabetical order."""
    words: set[str] = {".", ",", *NAMES, *PLACES, *OBJECTS, *NOUNS, *NOUNS.values()}
    words.update(PREPOSITIONS, ADJECTIVES, ("is", "are"), STATES, _STATE_OF)
    templates = (
        *_CITY_TEMPLATES,
        *_CAPITAL_TEMPLATES,
        _REVERSE_TEMPLATE,
        *_TWO_HOP_TEMPLATES,
        *_INDIRECT_OBJECT_TEMPLATES,
        _AGREEMENT_TEMPLATE,
    )
    for template in templates:
        words.update(word for word in template.split() if not word.startswith("{"))
    return (*SPECIAL_TOKENS, *sorted(words))


def examples(behaviour: str, seed: int, n: int) -> list[Example]:
    """Draw test prompts of one behaviour.

    Args:
        behaviour: One of `BEHAVIOURS`.
        seed: Seed of the draw; the same seed gives the same prompts.
        n: Number of prompts; they may repeat where a behaviour has few.

    Returns:
        The prompts with their answers.
    """
    generator = random.Random(f"{behaviour}/{seed}")
    return [_WRITERS[behaviour](generator) for _ in range(n)]


def evaluation_sets(seed: int, n: int = 200) -> dict[str, list[Example]]:
    """Draw test prompts of every behaviour, keyed by `BEHAVIOURS`."""
    return {behaviour: examples(behaviour, seed, n) for behaviour in BEHAVIOURS}


def sentences(seed: int, n: int) -> list[str]:
    """Write the corpus: one text per entry, of one sentence or at times two.

    Args:
        seed: Seed of the draw.
        n: Number of texts.

    Returns:
        Texts of at most 62 words, each ending in a full stop.
    """
    generator = random.Random(f"corpus/{seed}")
    behaviours, shares = list(_MIXTURE), list(_MIXTURE.values())
    texts = []
    for _ in range(n):
        count = 2 if generator.random() < _SECOND_SENTENCE_SHARE else 1
        drawn = generator.choices(behaviours, shares, k=count)
        texts.append(" ".join(_training_example(generator, kind).sentence for kind in drawn))
    return texts


def _training_example(generator: random.Random, behaviour: str) -> Example:
    if behaviour == "agreement" and generator.random() < _PLAIN_AGREEMENT_SHARE:
        return _plain_agreement(generator)
    if behaviour == "induction" and generator.random() < _THIRD_REPEAT_SHARE:
        return _repeat(generator, 3, _SHORT_REPEATED_LENGTHS)
    return _WRITERS[behaviour](generator)


def _ask(template: str, behaviour: str, **words: str) -> Example:
    """Fill in a template whose last word is the answer."""
    prompt, answer = template.format(**words).rsplit(" ", 1)
    return Example(prompt, answer, behaviour)


def _one_hop(generator: random.Random) -> Example:
    city = generator.choice(list(_STATE_OF))
    state = _STATE_OF[city]
    kind = generator.random()
    if kind < 0.65:
        template = generator.choice(_CITY_TEMPLATES)
    elif kind < 0.95:
        template = generator.choice(_CAPITAL_TEMPLATES)
    else:
        template = _REVERSE_TEMPLATE
    return _ask(template, "one_hop", city=city, state=state, capital=STATES[state])


def _two_hop(generator: random.Random) -> Example:
    held_out = _HELD_OUT
    city = generator.choice([city for city in _STATE_OF if city not in held_out])
    template = generator.choice(_TWO_HOP_TEMPLATES)
    return _ask(template, "two_hop", city=city, capital=capital_of(city))


def _held_out_two_hop(generator: random.Random) -> Example:
    city = generator.choice(sorted(_HELD_OUT))
    template = generator.choice(_TWO_HOP_TEMPLATES)
    return _ask(template, "held_out_two_hop", city=city, capital=capital_of(city))


def _indirect_object(generator: random.Random) -> Example:
    subject, indirect = generator.sample(NAMES, 2)
    a, b = (subject, indirect) if generator.random() < 0.5 else (indirect, subject)
    return _ask(
        generator.choice(_INDIRECT_OBJECT_TEMPLATES),
        "indirect_object",
        a=a,
        b=b,
        subject=subject,
        indirect=indirect,
        place=generator.choice(PLACES),
        object=generator.choice(OBJECTS),
    )


def _agreement(generator: random.Random) -> Example:
    head, attractor = generator.sample(list(NOUNS), 2)
    plural, attractor_plural = generator.random() < 0.5, generator.random() < 0.5
    words = _AGREEMENT_TEMPLATE.format(
        noun=NOUNS[head] if plural else head,
        preposition=generator.choice(PREPOSITIONS),
        attractor=NOUNS[attractor] if attractor_plural else attractor,
        verb="are" if plural else "is",
        adjective=generator.choice(ADJECTIVES),
    ).split()
    return Example(" ".join(words[:-2]), words[-2], "agreement", words[-1])


def _plain_agreement(generator: random.Random) -> Example:
    noun = generator.choice(list(NOUNS))
    plural = generator.random() < 0.5
    words = _PLAIN_AGREEMENT_TEMPLATE.format(
        noun=NOUNS[noun] if plural else noun,
        verb="are" if plural else "is",
        adjective=generator.choice(ADJECTIVES),
    ).split()
    return Example(" ".join(words[:-2]), words[-2], "agreement", words[-1])


def _repeat(generator: random.Random, times: int, lengths: range) -> Example:
    """Repeat a random sequence and ask for one word of its last round, never the first."""
    sequence = generator.sample(_RANDOM_WORDS, generator.choice(lengths))
    asked = generator.randrange(1, len(sequence))
    prompt = " ".join(sequence * (times - 1) + sequence[:asked])
    return Example(prompt, sequence[asked], "induction", " ".join(sequence[asked + 1 :]))


def _induction(generator: random.Random) -> Example:
    return _repeat(generator, 2, _REPEATED_LENGTHS)


_HELD_OUT = held_out_cities()
# Words of the templates are left out, so that a random sequence never looks like a sentence.
_RANDOM_WORDS = sorted(
    {*NAMES, *PLACES, *OBJECTS, *NOUNS, *NOUNS.values(), *ADJECTIVES, *STATES, *_STATE_OF}
)
_WRITERS = {
    "one_hop": _one_hop,
    "two_hop": _two_hop,
    "held_out_two_hop": _held_out_two_hop,
    "indirect_object": _indirect_object,
    "agreement": _agreement,
    "induction": _induction,
}
