from __future__ import annotations

import pytest

from tests.sandbox.moment import Clock
from worker.sandbox.dialects import Dialect
from worker.sandbox.faults import Asked, Fault, FaultKind, fits
from worker.sandbox.switchboard import Faults

FETCH = Asked(path="/rixapi/suno/fetch", dialect=Dialect.NEW_API, action="MUSIC", task_ids=("a", "b"))
SUBMIT = Asked(path="/rixapi/suno/submit/MUSIC", dialect=Dialect.NEW_API, action="MUSIC")


@pytest.fixture
def clock() -> Clock:
    """Give the clock of the faults."""
    return Clock()


@pytest.fixture
def faults(clock: Clock) -> Faults:
    """Give a switchboard without faults."""
    return Faults(clock=clock)


@pytest.mark.parametrize(
    ("fault", "fetch", "submit"),
    [
        (Fault(kind=FaultKind.HANG), True, True),
        (Fault(kind=FaultKind.HANG, path="/submit/"), False, True),
        (Fault(kind=FaultKind.HANG, dialect=Dialect.GOAMZ), False, False),
        (Fault(kind=FaultKind.HANG, dialect=Dialect.NEW_API), True, True),
        (Fault(kind=FaultKind.HANG, action="LYRICS"), False, False),
        (Fault(kind=FaultKind.HANG, action="MUSIC"), True, True),
        (Fault(kind=FaultKind.HANG, task_ids=("b",)), True, False),
        (Fault(kind=FaultKind.HANG, task_ids=("x", "?")), True, False),
        (Fault(kind=FaultKind.HANG, task_ids=("x",)), False, False),
        (Fault(kind=FaultKind.MISSING), True, False),
        (Fault(kind=FaultKind.NULL), True, True),
    ],
)
def test_a_fault_says_whom_it_strikes(fault: Fault, fetch: bool, submit: bool) -> None:
    """Path, dialect, action and task ids must all fit; odd items are for fetches alone."""
    assert (fits(fault, FETCH), fits(fault, SUBMIT)) == (fetch, submit)


def test_a_fault_has_its_time(faults: Faults, clock: Clock) -> None:
    """It strikes from its first second until its last, counted from when it was switched on."""
    clock.pass_(100)
    faults.switch_on(Fault(kind=FaultKind.HANG, after_seconds=10, for_seconds=20))
    struck = []
    for _ in range(5):
        struck.append(faults.strike(FETCH) is not None)
        clock.pass_(9.9)

    assert struck == [False, False, True, True, False]
    assert faults.on == []


def test_a_fault_counts_the_requests_that_fit(faults: Faults) -> None:
    """It spares the first ones and strikes so many then; other requests do not count."""
    faults.switch_on(Fault(kind=FaultKind.HANG, path="/fetch", after_requests=2, requests=1))
    struck = [faults.strike(asked) is not None for asked in (FETCH, SUBMIT, FETCH, SUBMIT, FETCH, FETCH)]

    assert struck == [False, False, False, False, True, False]


def test_requests_are_counted_only_in_its_time(faults: Faults, clock: Clock) -> None:
    """A request before its seconds begin is not one of those that are spared."""
    faults.switch_on(Fault(kind=FaultKind.HANG, after_seconds=10, after_requests=1))
    before = [faults.strike(FETCH) for _ in range(3)]
    clock.pass_(10)

    assert before == [None] * 3
    assert [faults.strike(FETCH) is not None for _ in range(2)] == [False, True]


def test_the_first_that_fits_strikes(faults: Faults) -> None:
    """When it is used up the next one has its turn, which has not been used meanwhile."""
    faults.switch_on(Fault(kind=FaultKind.HANG, requests=1))
    faults.switch_on(Fault(kind=FaultKind.DROP, requests=1))
    struck = [faults.strike(FETCH) for _ in range(3)]

    assert [fault and fault.kind for fault in struck] == ["hang", "drop", None]


def test_waiting_faults_are_on(faults: Faults, clock: Clock) -> None:
    """A fault whose time has not come is listed and can be cleared; one that is over is neither."""
    faults.switch_on(Fault(kind=FaultKind.HANG, after_seconds=60))
    faults.switch_on(Fault(kind=FaultKind.DROP, for_seconds=5))
    clock.pass_(5)

    assert [fault.kind for fault in faults.on] == ["hang"]
    assert faults.clear() == 1
    clock.pass_(60)
    assert faults.strike(FETCH) is None
