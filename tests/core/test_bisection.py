"""The search for refused ids: how many requests it costs, and whom it blames."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.bisection import Search


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
    ids: Sequence[str], refuses: Callable[[Collection[str]], bool], *, size: int = 100, alone: bool = False
) -> Outcome:
    """Search among `ids` at a gateway that `refuses` some requests."""
    outcome = Outcome(Search.of(ids, size=size, alone=alone))
    while (part := outcome.search.next) is not None:
        outcome.asked.append(part)
        refused = refuses(part)
        if not refused:
            outcome.answered.extend(part)
        outcome.search = outcome.search.after(refused=refused)
    return outcome


def holding(*poison: str) -> Callable[[Collection[str]], bool]:
    """Return a gateway that refuses every request with one of these ids."""
    return lambda part: not set(poison).isdisjoint(part)


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("number", range(1, 101))
def test_one_refused_id_among_n_costs_at_most_2_log2_n_requests_more(number: int, alone: bool) -> None:
    """At each place among 1 to 100 ids it is found, once, and all others are answered, each once."""
    ids = names(number)
    plain = len(Search.of(ids, size=100, alone=alone).waiting)
    assert plain == (2 if alone and number > 2 else 1)
    for poison in ids:
        found = search(ids, holding(poison), alone=alone)

        assert len(found.asked) <= 2 * log2(number) + plain
        assert (found.search.refused, found.search.is_complete) == ((poison,), True)
        assert not found.search.blames_gateway
        assert sorted(found.answered) == sorted(set(ids) - {poison})


def test_the_worst_place_among_100_costs_14_requests() -> None:
    """The bound is nearly reached: 2·log2(100) + 1 is 14.3."""
    costs = [len(search(names(100), holding(poison)).asked) for poison in names(100)]

    assert (min(costs), max(costs)) == (9, 14)


@given(number=st.integers(1, 300), size=st.integers(1, 100), alone=st.booleans())
def test_a_gateway_that_answers_nothing_costs_3_requests(number: int, size: int, alone: bool) -> None:
    """A wrong base URL never costs more, whatever the batch; one id alone cannot tell, and is refused."""
    found = search(names(number), lambda _part: True, size=size, alone=alone)

    assert len(found.asked) <= 3
    assert found.search.blames_gateway == (number > 1)
    assert found.search.next is None


@given(number=st.integers(1, 300), size=st.integers(1, 100), alone=st.booleans())
def test_a_gateway_that_is_well_is_asked_plainly(number: int, size: int, alone: bool) -> None:
    """Without a refusal each id is asked once, in its order, in parts of at most `size`."""
    found = search(names(number), lambda _part: False, size=size, alone=alone)

    assert tuple(found.answered) == names(number)
    assert max(map(len, found.asked)) <= size
    assert len(found.asked) <= -(-number // size) + alone
    assert (found.search.refused, found.search.is_complete) == ((), True)


@given(data=st.data(), number=st.integers(1, 150), size=st.integers(1, 100), alone=st.booleans())
def test_whatever_is_refused_a_search_ends_and_tells_no_lie(
    data: st.DataObject, number: int, size: int, alone: bool
) -> None:
    """Only refused ids are named; no id is answered twice; a search that blames nobody finds at least one.

    It keeps to its budget, and an incomplete one was cut by it.
    """
    ids = names(number)
    poison = data.draw(st.sets(st.sampled_from(ids), min_size=1))
    found = search(ids, holding(*poison), size=size, alone=alone)

    assert set(found.search.refused) <= poison
    assert len(found.answered) == len(set(found.answered))
    assert set(found.answered).isdisjoint(poison)
    plain = len(Search.of(ids, size=size, alone=alone).waiting)
    assert len(found.asked) <= plain + 2 * log2(number)
    if not found.search.blames_gateway:
        assert found.search.refused
        if not found.search.is_complete:
            assert found.search.budget == 0
        else:
            assert set(found.answered) | set(found.search.refused) == set(ids)


def test_two_refused_ids_in_both_halves_look_like_the_gateway_and_then_do_not() -> None:
    """Asked alone, with two good ids first, the same batch gives both away within two searches."""
    ids, poison = names(100), {"t10", "t90"}
    assert search(ids, holding(*poison)).search.blames_gateway

    left, found = list(ids), list[str]()
    for _ in range(2):
        outcome = search(left, holding(*poison), alone=True)
        assert not outcome.search.blames_gateway
        found += outcome.search.refused
        left = [one for one in left if one not in outcome.search.refused]

    assert sorted(found) == sorted(poison)
    assert len(left) == 98


def test_a_gateway_that_takes_fewer_ids_than_it_is_asked_refuses_none_alone() -> None:
    """A limit on the size of a request is not held against an id: all are answered."""
    found = search(names(100), lambda part: len(part) > 60)

    assert (found.search.refused, found.search.is_complete) == ((), True)
    assert sorted(found.answered) == sorted(names(100))
    assert len(found.asked) == 9
