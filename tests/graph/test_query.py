"""The search language: what is read, what is found, and what is refused with which words."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from circuitscope.core.circuit import Circuit
from circuitscope.core.errors import QueryError
from circuitscope.core.rows import Row, RowKey
from circuitscope.graph.query import FLAGS, KINDS, Matcher, Query, Term, parse_query

numbers = st.integers(0, 10**9).map(str)
ranges = st.one_of(
    numbers, st.tuples(numbers, numbers).map("-".join), numbers.map(lambda n: n + "-")
)
words = st.text(min_size=1).filter(lambda text: bool(text.strip()))
lists = st.lists(ranges, min_size=1, max_size=3).map(",".join)
terms = st.one_of(
    st.builds(Term, st.sampled_from(["layer", "pos", "id"]), lists, st.booleans()),
    st.builds(Term, st.just("kind"), st.sampled_from(sorted(KINDS)), st.booleans()),
    st.builds(Term, st.just("is"), st.sampled_from(FLAGS), st.booleans()),
    st.builds(Term, st.sampled_from(["", "label", "group", "token"]), words, st.booleans()),
)
queries = st.lists(terms, max_size=5).map(lambda found: Query(tuple(found)))


@given(queries)
def test_what_is_written_reads_back_to_the_same(query: Query) -> None:
    assert parse_query(str(query)) == query


def read(text: str) -> Query | QueryError:
    try:
        return parse_query(text)
    except QueryError as error:
        return error


@given(st.text())
def test_any_text_is_read_or_refused_with_words(text: str) -> None:
    found = read(text)
    if isinstance(found, QueryError):
        assert found.message.endswith(".")
        assert found.hint
    else:
        assert parse_query(str(found)) == found


def drawn_rows(circuit: Circuit) -> dict[RowKey, Row]:
    texas, waco = str(circuit.nodes.key(3)), str(circuit.nodes.key(4))
    return {
        RowKey("c", "label", texas): {"text": "The state"},
        RowKey("c", "group", "g1"): {"label": "Lone star", "color": "teal", "open": False},
        RowKey("c", "member", waco): {"group": "g1"},
        RowKey("c", "pin", texas): {},
    }


@pytest.mark.parametrize(("text", "found"), [
    ("", range(9)),
    ("layer:0", [2, 3, 5]),
    ("layer:1-", [4, 6]),
    ("kind:feature", [2, 3, 4]),
    ("kind:feature layer:0", [2, 3]),
    ("kind:feature -layer:0", [4]),
    ("kind:token,logit", [0, 1, 7, 8]),
    ("kind:attention", [2]),
    ("KIND:MLP", [3, 4, 5, 6]),
    ("pos:2,6", [0, 1]),
    ("token:dallas", [1]),
    ("id:214", [3]),
    ("mine", [3]),
    ("-mine kind:feature", [2, 4]),
    ("pinned", [3]),
    ("group:star", [4]),
    ("lone", [4]),
    ("grouped", [4]),
    ("label:texas", [2, 3]),
    ('label:"the state"', [3]),
    ("TEXAS austin", [3]),
    ('"#214"', [3]),
    ("mlp_out/1", [4, 6]),
    ("nothing-like-that", []),
    ("kind:feature -untested", []),
    ("tested", []),
])  # fmt: skip
def test_terms_find_the_nodes_that_meet_them_all(
    small_circuit: Circuit, text: str, found: list[int]
) -> None:
    matcher = Matcher(small_circuit, drawn_rows(small_circuit))
    assert np.flatnonzero(matcher.find(parse_query(text))).tolist() == list(found)


@given(query=queries)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_term_and_its_opposite_share_the_nodes(small_circuit: Circuit, query: Query) -> None:
    matcher = Matcher(small_circuit, drawn_rows(small_circuit))
    together = np.ones(len(small_circuit.nodes), np.bool_)
    for term in query.terms:
        met = matcher.find(Query((term,)))
        assert (met != matcher.find(Query((Term(term.field, term.value, not term.negated),)))).all()
        together &= met
    assert (matcher.find(query) == together).all()


@pytest.mark.parametrize(("text", "told"), [
    ("layer:x", "“x” is neither a number nor a range"),
    ("layer:", "does not say which layer"),
    ("kind:feature,fish", "no kind “fish”"),
    ("colour:red", "“colour:” is nothing that can be asked for"),
    ('"open', "quotation mark"),
    ("-", "asks for nothing"),
])  # fmt: skip
def test_an_error_names_what_was_not_understood(text: str, told: str) -> None:
    with pytest.raises(QueryError) as refused:
        parse_query("texas " + text)
    assert told in refused.value.message
    assert refused.value.hint
