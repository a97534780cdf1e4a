"""The search for ids that spoil a request: how many requests it costs, and whom it blames."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.bisection import Said, Search

FAILURES = st.sampled_from([Said.REFUSED, Said.TROUBLE])


@dataclass
class Outcome:
    """What a whole search asked and found."""

    search: Search
    asked: list[tuple[str, ...]] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)


def names(number: int) -> tuple[str, ...]:
    """Return `number` ids."""
    return tuple(f"t{one}" for one in range(number))


def search(
    ids: Sequence[str],
    fails: Callable[[Collection[str]], bool],
    *,
    size: int = 100,
    doubted: bool = False,
    how: Said = Said.REFUSED,
) -> Outcome:
    """Search among `ids` at a gateway where some requests fail."""
    outcome = Outcome(Search.of(ids, size=size, doubted=doubted))
    while (part := outcome.search.next) is not None:
        outcome.asked.append(part)
        said = how if fails(part) else Said.ANSWER
        if said is Said.ANSWER:
            outcome.answered.extend(part)
        outcome.search = outcome.search.after(said)
    return outcome


def holding(*poison: str) -> Callable[[Collection[str]], bool]:
    """Return a gateway where every request with one of these ids fails."""
    return lambda part: not set(poison).isdisjoint(part)


@pytest.mark.parametrize("doubted", [False, True])
@pytest.mark.parametrize("number", range(1, 101))
def test_one_refused_id_among_n_costs_at_most_2_log2_n_requests_more(number: int, doubted: bool) -> None:
    """At each place among 1 to 100 ids it is found, once, and all others are answered, each once."""
    ids = names(number)
    for poison in ids:
        found = search(ids, holding(poison), doubted=doubted)

        assert len(found.asked) <= 2 * log2(number) + 1
        assert (found.search.guilty, found.search.is_complete) == ((poison,), True)
        assert not found.search.blames_gateway
        assert sorted(found.answered) == sorted(set(ids) - {poison})


@pytest.mark.parametrize("number", range(2, 101))
def test_trouble_about_one_id_costs_no_more_once_the_batch_is_doubted(number: int) -> None:
    """The turn before, in which nobody doubted, was one request, and so is one that begins with that id."""
    ids = names(number)
    for poison in ids:
        assert len(search(ids, holding(poison), how=Said.TROUBLE).asked) == 1
        found = search(ids, holding(poison), doubted=True, how=Said.TROUBLE)

        if poison == ids[0]:
            assert (found.asked, found.search.blames_gateway) == ([(poison,)], True)
            continue
        assert len(found.asked) <= 2 * log2(number) + 1
        assert (found.search.guilty, found.search.is_complete) == ((poison,), True)
        assert sorted(found.answered) == sorted(set(ids) - {poison})


def test_the_worst_place_among_100_costs_14_requests() -> None:
    """The bound is nearly reached: 2·log2(100) + 1 is 14.3."""
    costs = [len(search(names(100), holding(poison)).asked) for poison in names(100)]

    assert (min(costs), max(costs)) == (9, 14)


@given(number=st.integers(1, 300), size=st.integers(1, 100), doubted=st.booleans(), how=FAILURES)
def test_a_gateway_that_answers_nobody_costs_few_requests(
    number: int, size: int, doubted: bool, how: Said
) -> None:
    """In trouble one; one that refuses all, as with a wrong base URL, at most 3.

    One id that is refused alone cannot tell, and counts as guilty.
    """
    found = search(names(number), lambda _part: True, size=size, doubted=doubted, how=how)

    assert len(found.asked) <= (3 if how is Said.REFUSED else 1)
    assert found.search.blames_gateway == (number > 1 or how is Said.TROUBLE)
    assert (found.search.next, found.search.proven) == (None, ())


@given(number=st.integers(1, 300), size=st.integers(1, 100), doubted=st.booleans())
def test_a_gateway_that_is_well_is_asked_plainly(number: int, size: int, doubted: bool) -> None:
    """Without a failure each id is asked once, in its order, in parts of at most `size`; doubt costs 2."""
    found = search(names(number), lambda _part: False, size=size, doubted=doubted)

    assert tuple(found.answered) == names(number)
    assert max(map(len, found.asked)) <= size
    assert len(found.asked) <= -(-number // size) + 2 * doubted
    assert (found.search.guilty, found.search.is_complete) == ((), True)


@given(
    number=st.integers(1, 150),
    size=st.integers(1, 100),
    doubted=st.booleans(),
    answers=st.integers(0, 20),
    poison=st.integers(0, 300),
)
def test_a_gateway_that_goes_down_in_a_search_is_left_in_peace(
    number: int, size: int, doubted: bool, answers: int, poison: int
) -> None:
    """Then two parts without a common id never fail twice in a row, and the outage makes nobody guilty.

    But for a search whose last request it spoils: that cannot be told from trouble about the id.
    """
    ids = names(number)
    is_poison = holding(f"t{poison}")
    asked: list[Collection[str]] = []

    def fails(part: Collection[str]) -> bool:
        asked.append(part)
        return len(asked) > answers or is_poison(part)

    found = search(ids, fails, size=size, doubted=doubted, how=Said.TROUBLE)

    down = found.asked[answers:]
    apart = [one for one, after in pairwise(down) if set(one).isdisjoint(after)]
    assert len(apart) <= 1
    if found.search.blames_gateway:
        assert set(found.search.proven) <= {f"t{poison}"}


@given(
    data=st.data(),
    number=st.integers(1, 150),
    size=st.integers(1, 100),
    doubted=st.booleans(),
    how=FAILURES,
)
def test_whatever_fails_a_search_ends_and_tells_no_lie(
    data: st.DataObject, number: int, size: int, doubted: bool, how: Said
) -> None:
    """Only ids that fail are named; no id is answered twice; a search that blames nobody finds at least one.

    It keeps to its budget, and an incomplete one was cut by it.
    """
    ids = names(number)
    poison = data.draw(st.sets(st.sampled_from(ids), min_size=1))
    found = search(ids, holding(*poison), size=size, doubted=doubted, how=how)

    assert set(found.search.proven) <= set(found.search.guilty) <= poison
    assert len(found.answered) == len(set(found.answered))
    assert set(found.answered).isdisjoint(poison)
    plain = len(Search.of(ids, size=size, doubted=doubted).waiting)
    assert len(found.asked) <= plain + 2 * log2(number)
    if not found.search.blames_gateway:
        assert found.search.guilty
        if not found.search.is_complete:
            assert found.search.budget == 0
        else:
            assert set(found.answered) | set(found.search.guilty) == set(ids)


def test_two_refused_ids_in_both_halves_look_like_the_gateway_and_then_do_not() -> None:
    """In doubt, with a good id first, the same batch gives both away within two searches."""
    ids, poison = names(100), {"t10", "t90"}
    assert search(ids, holding(*poison)).search.blames_gateway

    left, found = list(ids), list[str]()
    for _ in range(2):
        outcome = search(left, holding(*poison), doubted=True)
        assert not outcome.search.blames_gateway
        found += outcome.search.guilty
        left = [one for one in left if one not in outcome.search.guilty]

    assert sorted(found) == sorted(poison)
    assert len(left) == 98


def test_what_fails_in_a_row_after_an_answer_is_not_held_against_the_ids() -> None:
    """Trouble of two neighbours looks like a gateway that went down; who was found before, stays found."""
    found = search("abcdefgh", holding("c", "f", "g"), size=1, how=Said.TROUBLE)

    assert (found.asked[-1], found.search.blames_gateway) == (("g",), True)
    assert (found.search.guilty, found.search.proven) == (("c", "f", "g"), ("c",))


def test_a_gateway_that_takes_fewer_ids_than_it_is_asked_refuses_none_alone() -> None:
    """A limit on the size of a request is not held against an id: all are answered."""
    found = search(names(100), lambda part: len(part) > 60)

    assert (found.search.guilty, found.search.is_complete) == ((), True)
    assert sorted(found.answered) == sorted(names(100))
    assert len(found.asked) == 9
