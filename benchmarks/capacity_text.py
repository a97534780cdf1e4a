"""The words of docs/capacity.md, with places for what is computed."""

from __future__ import annotations

TEXT = """\
# Capacity

Computed from `benchmarks/results/latest.json` by `python -m benchmarks.publish`: nobody edits this file.
Measured on {machine}.

## Assumptions

- A Suno task lives {life:g} minutes and is polled with the default cadence, every {interval:g} s for 2
  minutes and then half as often: {polls} polls. Those that live longer are polled more rarely. The tasks that
  were measured end to end completed after {polled:.1f}; the others are added, at what a poll in vain costs.
- Batches are full: a request asks about 100 ids. A gateway answers it in {latency:g} s.
- CPU grows linearly with polls and with completions, as it did when measured up to 1,000,000 pending and
  20,000 completions at once. No process and no database core is used more than {busy} in the long run: what
  follows an arrow is how many of them that takes.
- A worker process uses one core at most, and its connections to the database are few. The receivers answer,
  and loopback is faster than any network.
- PostgreSQL was measured with its default settings, so with durable commits (`fsync`, `synchronous_commit`)
  and full-page images in its WAL. Those come with the first change of a page after each checkpoint: where
  completions are spread over a larger database, there are more of them than were measured.
- A task's `data` was 2.7 KB of JSON that compresses well: real lyrics take more room in the tables.
- Senders that enqueue by a Celery message cost the broker and the worker one message and one transaction more
  for each task than is counted here; a service that writes its own rows, or a file, does not. Redis' memory
  is what it holds when {wait} s of such messages wait, {message:,.0f} bytes each; without them it stays at
  the few MiB of its start, for doorbells expire and nothing else is kept there.

## Pending tasks

What polling alone needs when nothing completes.

{polling}
`WORKER_GATEWAYS__<NAME>__CONCURRENCY` is 4 requests at once by default and must be raised to the fourth
column, or the tasks be spread over gateways: it is the first limit that is met, and the gateway must agree.

## Completions

What it needs to see a task through, from its row to its delivered webhook, with all its polls.

{finishing}
## What follows

- **Workers** hold no state: add processes, then machines, a worker for each queue. Each claims what is due
  under row locks that skip each other. The claims of one gateway follow one another, under the lock of its
  row: where a single gateway has all the tasks, that is what ends before the workers do.
- **PostgreSQL** is the one part that is not added to by starting another. Its cores, above, are what one
  server gives; beyond them, give each group of gateways a database and workers of its own: tasks of different
  gateways never meet in a statement.
- **Redis** carries doorbells: Beat's few in a second, at most one after each recorded answer that finished a
  task, and at most four a second from each worker whose slots are full, which passes them on. And whatever
  `suno.enqueue` messages there are; one small server is enough at any size above as long as bulk senders
  write rows.
- **Partitioning** is a matter of retention: {days} days at {rate:,} completions/s would be {rows} billion
  finished tasks. Set `WORKER_RETENTION` to hours there; deleting what is past it costs as much as writing
  it. Partitions by day, dropped whole, are what to add at these rates; the schema has none today.
"""
