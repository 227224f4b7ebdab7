"""Test the sentences and tables of the atlas example."""

from circuitscope.examples import atlas
from circuitscope.examples.atlas_words import CITIES, NAMES, NOUNS, SPECIAL_TOKENS


def test_every_state_has_five_cities_beside_its_capital() -> None:
    assert len(atlas.states()) == 32
    for state in atlas.states():
        assert len(CITIES[state]) == 6
        assert CITIES[state][0] == atlas.capital_of(state)


def test_no_city_is_listed_twice_or_named_like_a_state_or_a_person() -> None:
    cities = [city for listed in CITIES.values() for city in listed]
    assert len(set(cities)) == len(cities)
    assert not set(cities) & {*CITIES, *NAMES}


def test_known_places_are_where_they_are() -> None:
    assert atlas.state_of("Dallas") == "Texas"
    assert atlas.capital_of("Dallas") == atlas.capital_of("Texas") == "Austin"
    assert atlas.state_of("Oakland") == "California"
    assert atlas.capital_of("Oakland") == "Sacramento"


def test_vocabulary_is_small_and_covers_the_corpus() -> None:
    words = atlas.vocabulary()
    assert words[:3] == SPECIAL_TOKENS
    assert len(set(words)) == len(words) < 1000
    assert {word for text in atlas.sentences(1, 2000) for word in text.split()} <= set(words)


def test_corpus_is_decided_by_its_seed_and_fits_the_context() -> None:
    assert atlas.sentences(5, 50) == atlas.sentences(5, 50)
    assert atlas.sentences(5, 50) != atlas.sentences(6, 50)
    assert max(len(text.split()) for text in atlas.sentences(2, 5000)) < 64


def test_held_out_cities_never_occur_in_two_hop_sentences() -> None:
    held_out = atlas.held_out_cities()
    assert len(held_out) == round(0.15 * 160)
    assert not {"Dallas", "Oakland"} & held_out
    marks = ("capital of the state containing", "has its capital in", "for people in")
    one_hop = two_hop = 0
    for text in atlas.sentences(3, 20_000):
        for sentence in text.split(" . "):
            words = set(sentence.split())
            if any(mark in sentence for mark in marks) and "state of" not in sentence:
                two_hop += 1
                assert not words & held_out
            elif " in " in sentence and words & held_out:
                one_hop += 1
    assert min(one_hop, two_hop) > 100


def test_held_out_prompts_ask_for_held_out_cities_only() -> None:
    for example in atlas.examples("held_out_two_hop", 0, 100):
        (city,) = set(example.prompt.split()) & atlas.held_out_cities()
        assert example.answer == atlas.capital_of(city)


def test_indirect_objects_are_the_name_that_occurs_once() -> None:
    orders = set()
    for example in atlas.examples("indirect_object", 0, 200):
        people = [word for word in example.prompt.split() if word in NAMES]
        assert sorted(map(people.count, {*people})) == [1, 2]
        assert people.count(example.answer) == 1
        orders.add(people.index(example.answer))
    assert orders == {0, 1}


def test_verbs_agree_with_the_first_noun_whatever_the_second_is() -> None:
    seen = set()
    plurals = set(NOUNS.values())
    for example in atlas.examples("agreement", 0, 200):
        words = example.prompt.split()
        assert example.answer == ("are" if words[1] in plurals else "is")
        seen.add((words[1] in plurals, words[-1] in plurals))
    assert len(seen) == 4


def test_induction_answers_follow_the_same_word_before() -> None:
    for example in atlas.examples("induction", 0, 100):
        words = example.prompt.split()
        assert words[words.index(words[-1]) + 1] == example.answer
        assert example.sentence.endswith(" .")


def test_evaluation_sets_hold_every_behaviour() -> None:
    sets = atlas.evaluation_sets(0, 10)
    assert tuple(sets) == atlas.BEHAVIOURS
    assert all(len(prompts) == 10 for prompts in sets.values())
    assert sets == atlas.evaluation_sets(0, 10)
