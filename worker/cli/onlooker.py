"""Follows a few Suno tasks in the tables and at the receiver, and prints each step as it is seen."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from operator import itemgetter

import click

from worker.cli.rehearsal import Rehearsal, clock
from worker.cli.terminal import one_line
from worker.db.history import Change, History, read_history
from worker.db.session import Sessions, reading
from worker.sandbox.receiver import Webhook
from worker.sandbox.sources import Source

LOOK_EVERY_S = 0.2
SHOWN_OF_ID = 8

COLOURS = {"SUCCESS": "green", "verified": "green", "FAILURE": "red", "IN_PROGRESS": "yellow"}
COLUMNS = ("task", "gateway", "action", "transitions", "webhook", "latency")


@dataclass(frozen=True, slots=True, kw_only=True)
class Song:
    """One Suno task of the demo."""

    task_id: str
    source: Source
    action: str

    def __str__(self) -> str:
        """Return how the demo calls it."""
        return f"{one_line(self.task_id)[:SHOWN_OF_ID]}  {self.source.name:<10}  {self.action:<6}"


@dataclass(slots=True, kw_only=True)
class Onlooker:
    """`songs` are the tasks to follow; `came` brings the webhooks from the receiver's thread."""

    rehearsal: Rehearsal
    sessions: Sessions
    came: queue.SimpleQueue[Webhook]
    began_at: datetime = field(default_factory=clock)
    songs: list[Song] = field(default_factory=list)
    histories: dict[str, History] = field(default_factory=dict)
    webhooks: dict[str, Webhook] = field(default_factory=dict)

    @property
    def verified(self) -> list[str]:
        """Return the ids whose webhook came and verified."""
        return [task_id for task_id, webhook in self.webhooks.items() if webhook.verified]

    def watch(self, *, seconds: float) -> None:
        """Print what happens until the webhook of every song has come and verified, or the time is over."""
        deadline = time.monotonic() + seconds
        while len(self.verified) < len(self.songs) and time.monotonic() < deadline:
            self.rehearsal.check()
            webhooks = list(self._next_webhooks())
            # A webhook follows its transition, so the tables are read after it came and told before it.
            self._tell_transitions()
            for webhook in webhooks:
                self._tell_webhook(webhook)

    def row(self, song: Song) -> tuple[str, ...]:
        """Return the song's line: times count from the enqueue, latency from the end at the gateway."""
        history = self.histories.get(song.task_id)
        transitions = "not under watch"
        if history is not None:
            transitions = " → ".join(
                f"{change.to_status} {(change.at - history.enqueued_at).total_seconds():.1f} s"
                for change in history.transitions
            )
        webhook = self.webhooks.get(song.task_id)
        ended_at = self.rehearsal.gateway.tasks[song.task_id].at(clock()).finished_at
        latency = "-"
        if webhook is not None and ended_at is not None:
            latency = f"{(webhook.at - ended_at).total_seconds():.1f} s"
        return (
            one_line(song.task_id)[:SHOWN_OF_ID],
            song.source.name,
            song.action,
            transitions,
            verdict(webhook),
            latency,
        )

    def _next_webhooks(self) -> Iterator[Webhook]:
        """Wait a moment for a webhook, then take all that have come."""
        try:
            yield self.came.get(timeout=LOOK_EVERY_S)
            while True:
                yield self.came.get_nowait()
        except queue.Empty:
            return

    def _tell_transitions(self) -> None:
        with reading(self.sessions) as session:
            found = [
                read_history(session, task_id=song.task_id, gateway=song.source.name) for song in self.songs
            ]
        news: list[tuple[datetime, Song, Change]] = []
        for song, history in zip(self.songs, found, strict=True):
            if history is not None:
                told = self.histories.get(song.task_id)
                fresh = history.transitions[len(told.transitions) if told else 0 :]
                news += [(change.at, song, change) for change in fresh]
                self.histories[song.task_id] = history
        for moment, song, change in sorted(news, key=itemgetter(0)):
            before = coloured(change.from_status or "new")
            self._tell(song, f"{before} → {coloured(change.to_status)}", at=moment)

    def _tell_webhook(self, webhook: Webhook) -> None:
        song = next((song for song in self.songs if song.task_id == webhook.task_id), None)
        if song is None or webhook.task_id in self.verified:
            return
        self.webhooks[webhook.task_id] = webhook
        told = f"webhook {coloured(one_line(webhook.status))}, {len(webhook.body)} bytes"
        self._tell(song, f"{told}, {coloured(verdict(webhook))}", at=webhook.at)

    def _tell(self, song: Song, what: str, *, at: datetime) -> None:
        click.echo(f"  {(at - self.began_at).total_seconds():4.1f} s  {song}  {what}")


def coloured(word: str) -> str:
    """Return the word in its colour, which click leaves out where no person looks."""
    return click.style(word, fg=COLOURS.get(word))


def verdict(webhook: Webhook | None) -> str:
    """Say in a word or two what became of the webhook."""
    if webhook is None:
        return "did not come"
    return "verified" if webhook.verified else f"NOT VERIFIED: {one_line(webhook.problem)}"
