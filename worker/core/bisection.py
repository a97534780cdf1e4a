"""Which ids to ask about next, when a gateway spoils a request as a whole because of one id.

A part that failed is halved, and its first half is asked; if that is answered, the second half holds what
fails and is halved at once, without being asked whole. An id is *guilty* only when it failed alone. One such
id among n costs at most 2·log2(n) requests more than asking plainly; that is also where a search stops, so
with several of them each search finds at least one.

A part fails in two ways. *Refused* says that the ids are wrong. *Troubled* may as well be the gateway's own
trouble, and then every further request is one too many, so:

- before anything has been answered, the first trouble ends the search: a gateway that is down is asked once.
- then, two parts without a common id that fail one after the other are the gateway's again.
- two such parts that are refused, while nothing has been answered, are also the gateway's, not the ids': a
  wrong base URL costs at most 3 requests.

All three also happen when several ids are guilty, or the first one asked, so a batch to which it happened is
*doubted* the next time: one id of it comes first, as a sign of life of the gateway, then the halves of the
rest, which has failed before as a whole. The caller sees to it that it is another id each time.

>>> search = Search.of("abcd", size=100, doubted=False)
>>> for said in (Said.REFUSED, Said.ANSWER, Said.REFUSED):
...     print(search.next)
...     search = search.after(said)
('a', 'b', 'c', 'd')
('a', 'b')
('c',)
>>> search.next, search.guilty
(('d',), ('c',))

Limits: where every id is guilty no sign of life ever comes, and nothing here tells it from a gateway in
trouble; the caller may know better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

Ids = tuple[str, ...]


class Said(StrEnum):
    """What became of a request."""

    ANSWER = "answer"
    REFUSED = "refused"  # something in it is wrong
    TROUBLE = "trouble"  # of the gateway, or about one of its ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What is left to be asked of one poll batch; `after` gives the state after each answer."""

    waiting: tuple[Ids, ...]  # to be asked, in this order
    spoiled: tuple[Ids, ...] = ()  # failed as a whole and not halved yet; the smallest is halved first
    guilty: Ids = ()  # each failed when asked alone
    unproven: Ids = ()  # those of them that had trouble after the last answer: the gateway may have failed
    budget: int  # requests that may still be made
    has_answered: bool = False
    blames_gateway: bool = False  # what fails is the gateway's; nothing more is asked
    last_failed: Ids = ()  # the part that was asked last, if it failed
    is_pair: bool = False  # the first two in `waiting` are the halves of one part

    @classmethod
    def of(cls, ids: Sequence[str], *, size: int, doubted: bool) -> Search:
        """Begin with parts of at most `size` ids; of a `doubted` batch with one of them, then with halves."""
        head = 1 if doubted and len(ids) > 1 else 0
        longest = min(size, (len(ids) - head + 1) // 2) if head else size
        parts = [tuple(ids[start : start + longest]) for start in range(head, len(ids), longest)]
        waiting = (*([tuple(ids[:head])] if head else []), *parts)
        return cls(waiting=waiting, budget=len(waiting) + _twice_log2(len(ids)))

    @property
    def next(self) -> Ids | None:
        """The ids to ask about now; None when there is nothing more to ask."""
        return None if self.blames_gateway or not self.budget or not self.waiting else self.waiting[0]

    @property
    def proven(self) -> Ids:
        """The guilty ids, less those that the gateway's own trouble may explain."""
        return tuple(one for one in self.guilty if one not in self.unproven) if self.has_answered else ()

    @property
    def is_complete(self) -> bool:
        """Whether each id was answered or is guilty; if not, the next search goes on."""
        return not self.waiting and not self.spoiled

    def after(self, said: Said) -> Search:
        """Return the state after what was said about `next`."""
        asked, waiting = self.waiting[0], self.waiting[1:]
        spoiled, is_pair = self.spoiled, self.is_pair
        is_answer = said is Said.ANSWER
        lonely = asked if len(asked) == 1 and not is_answer else ()
        if not is_answer and not lonely:
            spoiled += (asked,)
        elif is_answer and is_pair and len(waiting[0]) > 1:
            spoiled, waiting, is_pair = (*spoiled, waiting[0]), waiting[1:], False
        blames_gateway = self._blames(asked, said)
        if is_pair:
            is_pair = False  # its second half comes now
        elif spoiled and not blames_gateway:
            part = min(spoiled, key=len)  # the nearest to an end, so that the budget suffices for one
            middle = len(part) // 2
            waiting = (part[:middle], part[middle:], *waiting)
            spoiled, is_pair = tuple(one for one in spoiled if one is not part), True
        return replace(
            self,
            waiting=waiting,
            spoiled=spoiled,
            guilty=self.guilty + lonely,
            unproven=() if is_answer else self.unproven + (lonely if said is Said.TROUBLE else ()),
            budget=self.budget - 1,
            has_answered=self.has_answered or is_answer,
            blames_gateway=blames_gateway,
            last_failed=() if is_answer else asked,
            is_pair=is_pair,
        )

    def _blames(self, asked: Ids, said: Said) -> bool:
        """Say whether what was said is the gateway's: see the three rules at the top."""
        match said:
            case Said.ANSWER:
                return False
            case Said.TROUBLE:
                in_a_row = self.last_failed != () and set(self.last_failed).isdisjoint(asked)
                return in_a_row or not self.has_answered
            case Said.REFUSED:
                return not self.has_answered and bool(self.spoiled or self.guilty)


def _twice_log2(number: int) -> int:
    """Return 2·log2 of `number`, rounded down and exact; 0 for 0 and 1."""
    return max((number * number).bit_length() - 1, 0)
