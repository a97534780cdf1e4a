"""Say whom a gateway's answer is about: which tasks, or the gateway itself; and what is to be asked next.

Failing, a request for several ids says nothing yet of any of them: `core.bisection` searches. Not naming an
id, an answer to several says only that it is not among the rows that came. So before an absence ends a task,
the missing ones are asked about once more by themselves, and again as long as that brings some of them: an
absence is believed when nothing that was asked for came. That costs one request more in such a turn, and 3
where a gateway sends only a few rows: then the rest waits for the next turn.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from worker.batches import ClaimedBatch
from worker.core.bisection import Said, Search
from worker.core.lifecycle import ABSENCES_TO_END, Absent
from worker.core.wire import Bad, Fetch, Good, Reply, Trouble

MOST_SECOND_QUESTIONS = 3  # of one turn

_OF_ONE_ID = frozenset({Trouble.SERVER_ERROR, Trouble.NOT_JSON, Trouble.ENVELOPE, Trouble.TOO_LARGE})


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a batch's turn ended. `guilty`: these failed, each when asked alone.

    `alone`: the batch may hold other such ids, and the gateway answers; it is not to be merged. `failed`: the
    last answer that was none; None when all were good.
    """

    guilty: tuple[str, ...] = ()
    alone: bool = False
    failed: Bad | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Polled:
    """One answer of a gateway. `is_trouble`: it is the gateway's; one about some ids is not.

    `task_ids` are those that the reply says something about. `end` comes with the last one: no further
    request follows and the lease can end.
    """

    task_ids: tuple[str, ...]
    reply: Reply
    is_trouble: bool = False
    end: End | None = None


@dataclass(slots=True, kw_only=True)
class Turn:
    """What a batch's turn has brought so far."""

    batch: ClaimedBatch
    fetch: Fetch
    search: Search
    missed: tuple[str, ...] = ()  # to be asked about by themselves, before they are given up
    second_questions: int = 0
    told: set[str] = field(default_factory=set)
    failed: Bad | None = None

    @property
    def next(self) -> tuple[str, ...] | None:
        """The ids of the next request; None when the turn is over."""
        return self.search.next or self.missed or None

    def after(self, part: tuple[str, ...], reply: Reply) -> Polled:
        """Say whom an answer about `part` concerns: failing, several ids say nothing yet of any of them."""
        is_second = self.search.next is None
        said = _said(reply, fetch=self.fetch)
        if isinstance(reply, Bad):
            self.failed = reply
        if isinstance(reply, Good):
            self._doubt(part, reply, known=self.missed if not is_second else ())
        if is_second:
            return self._after_second(part, reply, said=said)
        if said is None:
            return self._trouble(part, reply, guilty=self.search.proven, alone=self.batch.lease.alone)
        self.search = self.search.after(said)
        if self.search.blames_gateway:
            return self._blamed(part, reply, is_refused=said is Said.REFUSED)
        about = part if said is Said.ANSWER or len(part) == 1 else ()
        return Polled(task_ids=self._tell(about), reply=reply, end=self._end())

    def _after_second(self, part: tuple[str, ...], reply: Reply, *, said: Said | None) -> Polled:
        """Believe what is said of the missed ones; trouble instead leaves them as they were."""
        self.second_questions += 1
        is_good = isinstance(reply, Good)
        told = self._tell(part)
        if not is_good or self.second_questions == MOST_SECOND_QUESTIONS:
            self.missed = ()
        is_trouble = not is_good and said is not Said.REFUSED
        return Polled(task_ids=told, reply=reply, is_trouble=is_trouble, end=self._end())

    def _doubt(self, part: tuple[str, ...], reply: Good, *, known: tuple[str, ...]) -> None:
        """Note those that this answer would give up, unless it speaks of them alone.

        A gateway may send fewer rows than it was asked for and not say so. Asked for the missing ones only,
        it sends more of them, as long as there are any.
        """
        absent = [one for one in part if isinstance(reply.observations.get(one), Absent)]
        last = [one for one in absent if self.batch.tasks[one].known.absences + 1 >= ABSENCES_TO_END]
        self.missed = (*known, *last) if len(absent) < len(part) else known

    def _end(self) -> End | None:
        if self.next is not None:
            return None
        return End(guilty=self.search.guilty, alone=not self.search.is_complete, failed=self.failed)

    def _blamed(self, part: tuple[str, ...], reply: Reply, *, is_refused: bool) -> Polled:
        """Leave it to the gateway, unless it is known better."""
        search, batch = self.search, self.batch
        # A batch that is alone was refused before; if each of its ids is, it would be so for ever.
        if batch.is_lone or (is_refused and batch.lease.alone and set(search.guilty) == set(batch.tasks)):
            end = End(guilty=search.guilty, failed=self.failed)
            return Polled(task_ids=self._tell(batch.tasks), reply=reply, end=end)
        known = batch.others_answered and not search.has_answered
        guilty = search.guilty if known else search.proven
        return self._trouble(part, reply, guilty=guilty, alone=is_refused or batch.lease.alone)

    def _trouble(
        self, part: tuple[str, ...], reply: Reply, *, guilty: tuple[str, ...], alone: bool
    ) -> Polled:
        """End the turn. A gateway that answers nobody concerns all of the batch, whoever was asked about."""
        answers_some = self.search.has_answered or self.batch.others_answered
        about = part if answers_some or self.fetch is Fetch.SINGLE else self.batch.tasks
        end = End(guilty=guilty, alone=alone, failed=self.failed)
        return Polled(task_ids=self._tell(about), reply=reply, is_trouble=True, end=end)

    def _tell(self, ids: Iterable[str]) -> tuple[str, ...]:
        """Return those of `ids` of which nothing was said in this turn, and nothing else is to be asked."""
        new = tuple(one for one in ids if one not in self.told and one not in self.missed)
        self.told.update(new)
        return new


def _said(reply: Reply, *, fetch: Fetch) -> Said | None:
    """Return what a reply may say of single ids; None for trouble that is plainly the gateway's."""
    if isinstance(reply, Good):
        return Said.ANSWER
    if reply.trouble is Trouble.REFUSED:
        return Said.REFUSED
    has_own_url = fetch is Fetch.SINGLE and reply.trouble is Trouble.NOT_FOUND
    return Said.TROUBLE if has_own_url or reply.trouble in _OF_ONE_ID else None
