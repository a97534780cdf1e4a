"""Which ids to ask about next, when a gateway refuses a request as a whole because of one id.

A refused part is halved, and its first half is asked; if that is answered, the second half holds what is
refused and is halved at once, without being asked whole. An id is *refused* only when it was asked alone. One
such id among n costs at most 2·log2(n) requests more than asking plainly; that is also where a search stops,
so with several of them each search finds at least one.

Two parts without a common id that are both refused, while nothing has been answered, are the gateway's
trouble, not the ids': a wrong base URL so costs at most 3 requests. That also happens when each half holds a
refused id, so a batch to which it happened is asked *alone* the next time: two ids of it first, as a sign of
life of the gateway. The caller shuffles it, so that they are others each time.

>>> search = Search.of("abcd", size=100, alone=False)
>>> for refused in (True, False, True):
...     print(search.next)
...     search = search.after(refused=refused)
('a', 'b', 'c', 'd')
('a', 'b')
('c',)
>>> search.next, search.refused
(('d',), ('c',))

Limits: a batch of which every id is refused, and at least two, cannot be told from a gateway in trouble; a
batch of one id that is refused counts against the id, though it may be the gateway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

Ids = tuple[str, ...]

SIGN_OF_LIFE = 2  # ids: halved they are two parts, so that a dead gateway still costs 3 requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What is left to be asked of one poll batch; `after` gives the state after each answer."""

    waiting: tuple[Ids, ...]  # to be asked, in this order
    guilty: tuple[Ids, ...] = ()  # refused as a whole and not halved yet; the smallest is halved first
    refused: Ids = ()  # each refused when asked alone
    budget: int  # requests that may still be made
    has_answered: bool = False
    is_pair: bool = False  # the first two in `waiting` are the halves of one part

    @classmethod
    def of(cls, ids: Sequence[str], *, size: int, alone: bool) -> Search:
        """Begin with parts of at most `size` ids; a batch that is `alone` begins with a sign of life."""
        head = SIGN_OF_LIFE if alone and size > SIGN_OF_LIFE and len(ids) > SIGN_OF_LIFE else 0
        parts = [tuple(ids[start : start + size]) for start in range(head, len(ids), size)]
        waiting = (tuple(ids[:head]), *parts) if head else tuple(parts)
        return cls(waiting=waiting, budget=len(waiting) + _twice_log2(len(ids)))

    @property
    def next(self) -> Ids | None:
        """The ids to ask about now; None when there is nothing more to ask."""
        return None if self.blames_gateway or not self.budget or not self.waiting else self.waiting[0]

    @property
    def blames_gateway(self) -> bool:
        """Whether two parts were refused and nothing has been answered."""
        return not self.has_answered and len(self.guilty) + len(self.refused) > 1

    @property
    def is_complete(self) -> bool:
        """Whether each id was answered or refused alone; if not, the next search goes on."""
        return not self.waiting and not self.guilty

    def after(self, *, refused: bool) -> Search:
        """Return the state after the answer about `next`; `refused` says that there was none."""
        asked, waiting = self.waiting[0], self.waiting[1:]
        guilty, alone, is_pair = self.guilty, self.refused, self.is_pair
        if refused and len(asked) == 1:
            alone += asked
        elif refused:
            guilty += (asked,)
        elif is_pair and len(waiting[0]) > 1:
            guilty, waiting, is_pair = (*guilty, waiting[0]), waiting[1:], False
        blames_gateway = not self.has_answered and refused and len(guilty) + len(alone) > 1
        if is_pair:
            is_pair = False  # its second half comes now
        elif guilty and not blames_gateway:
            part = min(guilty, key=len)  # the nearest to an end, so that the budget suffices for one
            middle = len(part) // 2
            waiting = (part[:middle], part[middle:], *waiting)
            guilty, is_pair = tuple(one for one in guilty if one is not part), True
        return replace(
            self,
            waiting=waiting,
            guilty=guilty,
            refused=alone,
            budget=self.budget - 1,
            has_answered=self.has_answered or not refused,
            is_pair=is_pair,
        )


def _twice_log2(number: int) -> int:
    """Return 2·log2 of `number`, rounded down and exact; 0 for 0 and 1."""
    return max((number * number).bit_length() - 1, 0)
