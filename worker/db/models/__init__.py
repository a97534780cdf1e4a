"""The tables: what is due, what was claimed, what happened.

Rows are the truth and Celery's messages are only doorbells, so everything that must survive a crash is here
and is found again by one indexed look at a due time. Two tables are worked like queues, in the same way:

* `poll_batches`: one row is one future request to a gateway; at most 100 Suno tasks belong to it.
* `deliveries`: the outbox; one row is one result owed to one endpoint, written in the transaction of the
  terminal transition.

A *claim* pushes the row's due time to the end of its lease and increments `claims`, the fencing token. A
*record* is guarded by the `claims` that it saw. A worker that dies leaves a row that becomes due again by
itself when the lease ends, so there is no rescuer and nothing can be stuck. The cost: one more write per
claim than a lock held open; but no transaction stays open while a gateway or receiver takes its time.
"""

from worker.db.models.base import Base
from worker.db.models.outbox import Attempt, Delivery, Origin
from worker.db.models.upkeep import Clock, Rejection
from worker.db.models.watching import Gateway, PollBatch, SunoTask, Transition

__all__ = [
    "Attempt",
    "Base",
    "Clock",
    "Delivery",
    "Gateway",
    "Origin",
    "PollBatch",
    "Rejection",
    "SunoTask",
    "Transition",
]
