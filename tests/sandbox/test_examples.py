"""Every example of a scenario is played to the real gateway client, which sees what the example promises."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from tests.sandbox.moment import Clock
from worker.clients.gateway import GatewayClient, GatewayTarget
from worker.core.lifecycle import Absent, Action, Seen, Status, Unanswered, Unreadable
from worker.core.wire import Bad, Fetch, Good, Reply, Trouble
from worker.sandbox.fault_keys import KEYS
from worker.sandbox.faults import FaultKind
from worker.sandbox.gateway import SandboxGateway
from worker.sandbox.hosting import serving
from worker.sandbox.scenario import read_scenario
from worker.sandbox.songs import SimulatedTask

EXAMPLES = Path(__file__).parents[2] / "examples" / "scenarios"
LASTS = timedelta(seconds=100)
DEADLINE = timedelta(seconds=20)  # of requests that end by themselves


@dataclass
class Play:
    """A gateway under a scenario, with a client that asks it."""

    gateway: SandboxGateway
    clock: Clock
    url: str
    client: GatewayClient
    ids: list[str] = field(default_factory=list)

    def submit(self, *task_ids: str) -> None:
        """Put tasks there that last 100 s from now on."""
        for task_id in task_ids:
            task = SimulatedTask(
                task_id=task_id, action="MUSIC", submitted_at=self.clock(), lasts=LASTS, fail_reason=""
            )
            self.gateway.register(task)
            self.ids.append(task_id)

    async def ask(
        self,
        *task_ids: str,
        source: str = "openai-hub",
        fetch: Fetch = Fetch.BATCH,
        action: Action = Action.MUSIC,
        deadline: timedelta = DEADLINE,
    ) -> Reply:
        """Ask for the tasks (all, unless some are named) and return the first reply."""
        target = GatewayTarget(
            name="hub",
            base_url=f"{self.url}/{source}",
            api_key="k",
            fetch=fetch,
            auth_header="Authorization",
            auth_prefix="Bearer ",
            timeout=deadline,
        )
        async for _, reply in self.client.fetch(target, action=action, task_ids=task_ids or tuple(self.ids)):
            return reply
        pytest.fail("no reply")

    async def good(self, *task_ids: str) -> Good:
        """Ask and return the reply, which must be good."""
        reply = await self.ask(*task_ids)
        assert isinstance(reply, Good), reply
        return reply

    async def trouble(self, *, deadline: timedelta = DEADLINE) -> Bad:
        """Ask and return the reply, which must be bad."""
        reply = await self.ask(deadline=deadline)
        assert isinstance(reply, Bad), reply
        return reply

    async def statuses(self) -> dict[str, Status | None]:
        """Ask and return the status of each task that was seen."""
        reply = await self.good()
        return {one: seen.status for one, seen in reply.observations.items() if isinstance(seen, Seen)}


@asynccontextmanager
async def playing(name: str) -> AsyncIterator[Play]:
    """Serve a gateway whose faults are those of an example."""
    clock = Clock()
    gateway = SandboxGateway(clock=clock)
    for fault in read_scenario(EXAMPLES / name).faults:
        gateway.faults.switch_on(fault)
    client = GatewayClient()
    try:
        async with serving(gateway.app()) as url:
            yield Play(gateway, clock, url, client)
    finally:
        await client.close()


SHORT = timedelta(seconds=0.3)


async def gives_up(play: Play) -> None:
    """The wall clock ends the request; the other sources answer."""
    play.submit("t-1")
    assert (await play.trouble(deadline=SHORT)).trouble is Trouble.TIMEOUT
    assert isinstance(await play.ask(source="rixapi"), Good)


async def flood(play: Play) -> None:
    """The answer is not read to its end."""
    play.submit("t-1")
    assert (await play.trouble()).trouble is Trouble.TOO_LARGE


async def key_refused(play: Play) -> None:
    """Two 401, two 403, then all is well."""
    play.submit("t-1")
    troubles = [await play.trouble() for _ in range(4)]
    assert [one.trouble for one in troubles] == [Trouble.UNAUTHORIZED] * 4
    assert [one.message[:8] for one in troubles] == ["HTTP 401", "HTTP 401", "HTTP 403", "HTTP 403"]
    assert await play.statuses() == {"t-1": Status.SUBMITTED}


async def rate_limited(play: Play) -> None:
    """Seconds and a date are read as the same wait, within the second that a date has."""
    play.submit("t-1")
    troubles = [await play.trouble() for _ in range(3)]
    assert {one.trouble for one in troubles} == {Trouble.RATE_LIMITED}
    seconds, date, none = (one.retry_after for one in troubles)
    assert (seconds, none) == (timedelta(seconds=20), None)
    assert date is not None
    assert timedelta(seconds=18) <= date <= timedelta(seconds=21)
    assert await play.statuses() == {"t-1": Status.SUBMITTED}


async def server_errors(play: Play) -> None:
    """Each request has another trouble."""
    play.submit("t-1")
    assert [(await play.trouble()).trouble for _ in range(5)] == [
        Trouble.SERVER_ERROR,
        Trouble.SERVER_ERROR,
        Trouble.SERVER_ERROR,
        Trouble.NETWORK,
        Trouble.NOT_JSON,
    ]
    assert await play.statuses() == {"t-1": Status.SUBMITTED}


def always(trouble: Trouble) -> Callable[[Play], Awaitable[None]]:
    """Return a check that every fetch has this trouble."""

    async def check(play: Play) -> None:
        play.submit("t-1")
        assert [(await play.trouble()).trouble for _ in range(2)] == [trouble] * 2

    return check


async def poisonous(play: Play) -> None:
    """Requests that name the id are refused, others are not."""
    play.submit("a", "b", "poison-1")
    refused = await play.ask("a", "poison-1")
    assert isinstance(refused, Bad)
    assert refused.trouble is Trouble.REFUSED
    assert set((await play.good("a", "b")).observations) == {"a", "b"}


async def missing(play: Play) -> None:
    """The lost one is absent, the other is there."""
    play.submit("a", "lost-1")
    reply = await play.good()
    assert isinstance(reply.observations["a"], Seen)
    assert reply.observations["lost-1"] == Absent()


async def cap(play: Play) -> None:
    """What is behind the hundredth item is neither seen nor absent."""
    play.submit(*(f"t-{number}" for number in range(120)))
    said = list((await play.good()).observations.values())
    assert sum(isinstance(one, Seen) for one in said) == 100
    assert sum(one == Unanswered() for one in said) == 20


async def odd_lists(play: Play) -> None:
    """Order, old duplicates and strangers change nothing."""
    play.submit("a", "b")
    play.clock.pass_(200)
    seen = [await play.statuses() for _ in range(4)]
    assert seen == [{"a": Status.SUCCESS, "b": Status.SUCCESS}] * 4


async def mistyped(play: Play) -> None:
    """The odd item cannot be read, and what it says is shown once; the other counts."""
    play.submit("a", "odd-1")
    reply = await play.good()
    seen, odd = reply.observations["a"], reply.observations["odd-1"]
    assert isinstance(seen, Seen)
    assert seen.status is Status.SUBMITTED
    assert isinstance(odd, Unreadable)
    assert '"task_id":"odd-1"' in odd.excerpt
    assert reply.oddities == (f"cannot be read: {odd.excerpt}",)


async def unknown_words(play: Play) -> None:
    """Three polls know no status; the fourth does."""
    play.submit("a")
    play.clock.pass_(200)
    assert [await play.statuses() for _ in range(4)] == [{"a": None}] * 3 + [{"a": Status.SUCCESS}]


async def backwards(play: Play) -> None:
    """On its way, on its way, three times back at the start, at its end."""
    play.submit("a")
    seen = []
    for _ in range(6):
        play.clock.pass_(30)
        seen.append((await play.statuses())["a"])
    assert seen == [Status.IN_PROGRESS] * 2 + [Status.SUBMITTED] * 3 + [Status.SUCCESS]


async def stuck(play: Play) -> None:
    """At 100 % with an error, and not ended."""
    play.submit("a")
    play.clock.pass_(200)
    seen = (await play.good()).observations["a"]
    assert isinstance(seen, Seen)
    assert (seen.status, seen.progress, seen.fail_reason) == (Status.IN_PROGRESS, 100, "upstream error")


async def endless(play: Play) -> None:
    """Long after its time a task is still on its way."""
    play.submit("a")
    play.clock.pass_(1_000_000)
    assert await play.statuses() == {"a": Status.IN_PROGRESS}


async def null_data(play: Play) -> None:
    """Null is a good answer that names nobody."""
    play.submit("a")
    assert (await play.good()).observations == {"a": Absent()}


async def slow(play: Play) -> None:
    """The answer is right, and does not come before its time."""
    play.submit("a")
    begun = asyncio.get_running_loop().time()
    assert await play.statuses() == {"a": Status.SUBMITTED}
    assert asyncio.get_running_loop().time() - begun >= 3


async def outage(play: Play) -> None:
    """Before, during and after the outage each source is struck as the timeline says."""

    async def heard(action: Action = Action.MUSIC) -> list[str]:
        replies = [
            await play.ask(source="rixapi"),
            await play.ask(action=action, deadline=SHORT),
            await play.ask(source="nengyongai", fetch=Fetch.SINGLE),
        ]
        return [one.trouble if isinstance(one, Bad) else "good" for one in replies]

    play.submit("a")
    assert await heard() == ["good"] * 3
    play.clock.pass_(15)
    assert await heard(Action.LYRICS) == ["server_error", "timeout", "unauthorized"]
    assert await heard(Action.MUSIC) == ["server_error", "good", "unauthorized"]
    play.clock.pass_(60)
    assert await heard(Action.LYRICS) == ["rate_limited", "good", "good"]
    assert await heard() == ["good"] * 3
    assert play.gateway.faults.on == []


CHECKS: Mapping[str, Callable[[Play], Awaitable[None]]] = {
    "cap.toml": cap,
    "drip.toml": gives_up,
    "envelope-failure.toml": always(Trouble.ENVELOPE),
    "flood.toml": flood,
    "hang.toml": gives_up,
    "key-refused.toml": key_refused,
    "missing-ids.toml": missing,
    "mistyped-items.toml": mistyped,
    "never-ending.toml": endless,
    "null-data.toml": null_data,
    "odd-lists.toml": odd_lists,
    "outage.toml": outage,
    "poisonous-id.toml": poisonous,
    "rate-limited.toml": rate_limited,
    "redirect.toml": always(Trouble.NOT_FOUND),
    "server-errors.toml": server_errors,
    "slow.toml": slow,
    "step-backwards.toml": backwards,
    "stuck.toml": stuck,
    "truncated.toml": always(Trouble.NOT_JSON),
    "unknown-words.toml": unknown_words,
    "wrong-base-url.toml": always(Trouble.NOT_JSON),
}


@pytest.mark.parametrize("name", CHECKS)
def test_an_example_does_what_it_says(name: str) -> None:
    """The worker's own client meets the fault that the example's comment names."""

    async def play() -> None:
        async with playing(name) as stage:
            await CHECKS[name](stage)

    asyncio.run(play())


def test_no_example_is_left_out() -> None:
    """Each example is played, starts with a comment and has a title; together they show every kind."""
    paths = sorted(EXAMPLES.glob("*.toml"))
    scenarios = [read_scenario(path) for path in paths]

    assert [path.name for path in paths] == sorted(CHECKS)
    assert all(path.read_text(encoding="utf-8").startswith("# ") for path in paths)
    assert all(scenario.title for scenario in scenarios)
    assert {fault.kind for scenario in scenarios for fault in scenario.faults} == set(FaultKind)


def rows(head: str) -> dict[str, list[str]]:
    """Return the lines of the table that begins with `head` in the examples' README, by the first cell."""
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    (found,) = re.findall(rf"^\| {head} \|.*\n\|[- |]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    lines = [[cell.strip() for cell in line.strip("|").split(" |")] for line in found.splitlines()]
    return {cells[0]: cells[1:] for cells in lines}


def test_every_kind_and_key_is_explained(tmp_path: Path) -> None:
    """The README beside the examples has every kind, every key, and a scenario that is one."""
    own = {kind: [key for key, one in KEYS.items() if kind in one.kinds] for kind in FaultKind}
    kinds = {name.strip("`"): re.findall(r"`(\w+)`", cells[1]) for name, cells in rows("kind").items()}
    common = re.findall(r"`(\w+)`", " ".join(rows("key")))
    path = tmp_path / "readme.toml"
    (text,) = re.findall(
        r"```toml\n(.*?)```", (EXAMPLES / "README.md").read_text(encoding="utf-8"), re.DOTALL
    )
    path.write_text(text, encoding="utf-8")

    assert kinds == own
    assert common == [key for key, one in KEYS.items() if not one.kinds]
    assert [fault.kind for fault in read_scenario(path).faults] == ["status", "missing"]
