"""What poll batches give to requests, and which tasks move for that.

A request is made of shares. One batch stays and takes the others in: the largest of those that give all
they have.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A poll batch of one gateway as the packing sees it."""

    id: int
    action: str
    size: int  # pending Suno tasks in it
    interval: timedelta  # between two polls, by its age
    alone: bool = False  # never asked together with others


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What a batch gives to a request: all of its tasks, or `count` of them."""

    batch: Batch
    count: int

    @property
    def is_whole(self) -> bool:
        """Say whether the batch gives all it has."""
        return self.count == self.batch.size


@dataclass(frozen=True, slots=True)
class Request:
    """One future request to the gateway; at least one of its shares is a whole batch."""

    shares: tuple[Share, ...]

    @property
    def size(self) -> int:
        """Return how many tasks it asks about."""
        return sum(share.count for share in self.shares)

    @property
    def action(self) -> str:
        """Return the action of all its tasks."""
        return self.shares[0].batch.action

    @property
    def interval(self) -> timedelta:
        """Return the interval of its youngest batch, which it will keep."""
        return min(share.batch.interval for share in self.shares)

    @property
    def alone(self) -> bool:
        """Say whether it is a batch that is never asked together with others."""
        return any(share.batch.alone for share in self.shares)

    @property
    def home(self) -> Batch:
        """Return the batch that the others move into: the largest whole one, so the fewest tasks move."""
        whole = [share.batch for share in self.shares if share.is_whole]
        return max(whole, key=lambda batch: batch.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Tasks that change their batch, to be done in the order given. `count` is None for all that are left."""

    source: int
    target: int
    count: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """What is to be done: batches to ask, moves that come before, and batches that are empty then."""

    asked: tuple[int, ...]
    moves: tuple[Move, ...]
    emptied: tuple[int, ...]


def settle(requests: Iterable[Request]) -> Packing:
    """Say which batches stay, and what moves into them."""
    moves: dict[int, list[Move]] = {}
    asked: list[int] = []
    for request in requests:
        home = request.home
        asked.append(home.id)
        for share in request.shares:
            if share.batch.id != home.id:
                move = Move(source=share.batch.id, target=home.id, count=share.count)
                moves.setdefault(share.batch.id, []).append(move)
    ordered = [
        Move(source=move.source, target=move.target, count=None if move is parts[-1] else move.count)
        for parts in moves.values()
        for move in parts
    ]
    return Packing(asked=tuple(asked), moves=tuple(ordered), emptied=tuple(moves))
