"""How much each scenario does: in full, and quickly to see that all of it runs."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.bare import TIMEOUT


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Counts and seconds; the full ones make about half an hour on two cores."""

    rounds: int = 5
    interval_s: float = 5  # between two polls, for both sides
    lead_s: float = 12  # from the first enqueue to the first completion: two or three polls in vain
    tasks: int = 20_000
    afternoon_tasks: int = 800
    posts: int = 4_000
    delivery_posts: int = 8_000
    our_hosts: int = 8
    our_posts: int = 12_000  # beside other packages: about as many seconds of work as theirs
    outbound_posts: int = 200
    webhook_posts: int = 400
    pending: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    polls: int = 100_000
    gets: int = 2_000
    growth_pending: int = 10_000
    latency_interval_s: float = 10
    latency_tasks: int = 150  # of a round
    latency_window_s: float = 25
    slow_hosts: int = 100
    slow_posts: int = 240_000  # more than can be sent in the window
    slow_s: float = 24  # the window: from the moment at which some begin to hang
    slow_timeout_s: float = TIMEOUT.total_seconds()
    scale_hosts: int = 128
    scale_posts: int = 48_000
    scale_fair: float = 0.5  # of an even share: what each process must have delivered at least
    settle_s: float = 10  # after the start of `up`
    idle_s: float = 20
    lines: int = 20_000

    @property
    def settled_s(self) -> float:
        """When what receivers that hang do to the others has settled: their timeout, its record, breakers."""
        return self.slow_timeout_s + 3


FULL = Sizes()
QUICK = Sizes(
    rounds=1,
    interval_s=1,
    lead_s=3,
    tasks=1_000,
    afternoon_tasks=40,
    posts=1_000,
    delivery_posts=1_000,
    our_posts=1_000,
    outbound_posts=40,
    webhook_posts=60,
    pending=(1_000, 2_000, 5_000),
    polls=5_000,
    gets=200,
    growth_pending=1_000,
    latency_interval_s=1,
    latency_tasks=20,
    latency_window_s=4,
    slow_hosts=20,
    slow_posts=80_000,
    slow_s=5,
    slow_timeout_s=1,
    scale_posts=8_000,  # a claim takes 200: four processes' shares of a few claims are a matter of luck,
    scale_fair=0.1,  # and only one that took no part shows
    settle_s=2,
    idle_s=4,
    lines=2_000,
)
