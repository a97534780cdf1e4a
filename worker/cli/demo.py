"""The verb `demo`: the main job once, on this machine, with nothing configured.

MUSIC and LYRICS tasks are submitted at three simulated gateways and put under watch, half by a Celery message
as any service would send it, half by `worker.enqueue` in a transaction. One of them fails at its gateway, and
its webhook comes like the others. It ends with exit code 0 only if every webhook came and its signature was
verified by the public `standardwebhooks` library.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import timedelta
from importlib.util import find_spec

import click
import httpx
from celery import Celery

from worker.cli.connections import open_database
from worker.cli.onlooker import COLUMNS, Onlooker, Song
from worker.cli.rehearsal import Rehearsal, rehearse
from worker.cli.terminal import Section, examples, print_sections
from worker.db.session import Sessions
from worker.library import enqueue
from worker.sandbox.receiver import Webhook
from worker.sandbox.sources import SOURCES, Source

MUSIC_LASTS = timedelta(seconds=9)
DEADLINE_S = 40.0
FAIL_REASON = "Song Description contained artist name"

NEXT = """\
What to try next:
  suno-worker sandbox receiver      a receiver that shows and verifies your webhooks
  export WORKER_GATEWAYS__MYGATEWAY__BASE_URL=https://api.example.com
  export WORKER_GATEWAYS__MYGATEWAY__API_KEY=sk-...
  suno-worker up                    worker and Beat, with nothing else to install
  suno-worker enqueue TASK_ID --action MUSIC --notify-hook https://example.com/hook"""


@click.command(epilog=examples("suno-worker demo"))
def demo() -> None:
    """Show the whole way of a few Suno tasks on this machine, then clean up.

    It needs no account and no settings, takes about 15 s, and leaves nothing behind.
    """
    if find_spec("standardwebhooks") is None:
        raise click.ClickException(
            "the demo needs the standardwebhooks library: pip install 'suno-worker[sandbox]'"
        )
    began = time.monotonic()
    came: queue.SimpleQueue[Webhook] = queue.SimpleQueue()
    click.echo(
        "In a temporary folder: Valkey, worker and Beat, between a simulated gateway and a receiver.\n"
    )
    with (
        rehearse(lasts=MUSIC_LASTS, say=came.put) as rehearsal,
        open_database(rehearsal.settings) as sessions,
    ):
        onlooker = Onlooker(rehearsal=rehearsal, sessions=sessions, came=came)
        for song in begin_songs(rehearsal, sessions=sessions):
            onlooker.songs.append(song)
        onlooker.watch(seconds=DEADLINE_S)
        click.echo()
        rows = [onlooker.row(song) for song in onlooker.songs]
        print_sections([Section(title="What happened", columns=COLUMNS, rows=rows)])
        click.echo()
    good, owed = len(onlooker.verified), len(onlooker.songs)
    seconds = time.monotonic() - began
    click.echo(
        f"{good} of {owed} webhooks came and were verified; {seconds:.0f} s in all, nothing left behind.\n"
    )
    if good < owed:
        raise click.ClickException(
            f"not every webhook came and verified within {DEADLINE_S:.0f} s: the table above says"
            " which; a busy machine may need a second try"
        )
    click.echo(NEXT)


def begin_songs(rehearsal: Rehearsal, *, sessions: Sessions) -> Iterator[Song]:
    """Submit the tasks at the gateway and put each under watch."""
    wishes: list[tuple[Source, str, Mapping[str, str]]] = [
        (source, action, {}) for source in SOURCES for action in ("MUSIC", "LYRICS")
    ]
    wishes.append((SOURCES[0], "MUSIC", {"outcome": "FAILURE", "fail_reason": FAIL_REASON}))
    headers = {"Authorization": f"Bearer {rehearsal.api_key}"}
    with (
        httpx.Client(base_url=rehearsal.gateway_url, headers=headers, trust_env=False) as http,
        closing(Celery(broker=rehearsal.broker_url)) as other_service,
    ):
        for number, (source, action, wish) in enumerate(wishes):
            song = submit(http, source=source, action=action, wish=wish)
            arguments = {
                "task_id": song.task_id,
                "action": action,
                "notify_hook": rehearsal.hook,
                "gateway": source.name,
            }
            if number % 2:
                with sessions.begin() as session:
                    enqueue(session, **arguments)
                way = "worker.enqueue(session, ...)"
            else:
                other_service.send_task("suno.enqueue", kwargs=arguments, queue="enqueue")
                way = 'send_task("suno.enqueue", ...)'
            click.echo(f"          {song}  enqueued: {way}")
            yield song


def submit(http: httpx.Client, *, source: Source, action: str, wish: Mapping[str, str]) -> Song:
    """Begin a Suno task at the gateway, as its users do."""
    body = {"prompt": "the rain", "sandbox": wish}
    answer = http.post(f"{source.prefix}/suno/submit/{action}", json=body).raise_for_status()
    data = answer.json()["data"]
    task_id = data["task_id"] if isinstance(data, dict) else data
    return Song(task_id=task_id, source=source, action=action)
