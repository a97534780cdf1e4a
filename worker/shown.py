"""A message as events, and so Flower, show it: readable whoever sent it, and without what may be a token.

The text of the arguments is the sender's to write, and senders other than Celery's own leave it out: Flower
would show nothing and find nothing. So it is written here, from the arguments themselves. A `notify_hook` is
shown without its query, where receivers keep their tokens.
"""

from __future__ import annotations

import re
from typing import Any

from celery.utils.saferepr import saferepr
from celery.worker.request import Request

from worker.request import ARGUMENTS

LONGEST = 4096  # characters; the longest hook has 2,048
MASK = "***"


class ShownRequest(Request):
    """A request whose arguments read the same from every sender."""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - Celery's own signature
        super().__init__(*arguments, **options)
        # Both places are read: this one by the worker, for its events, the other by the task's own log lines.
        self._argsrepr = self.request_dict["argsrepr"] = shown(self.args)
        self._kwargsrepr = self.request_dict["kwargsrepr"] = shown(self.kwargs)


def shown(arguments: object) -> str:
    """Return the text of positional or keyword arguments: ours first, in their order, hooks masked."""
    if isinstance(arguments, dict):
        ordered = {name: arguments[name] for name in ARGUMENTS if name in arguments} | arguments
        return saferepr({name: _masked(value) for name, value in ordered.items()}, maxlen=LONGEST)
    if isinstance(arguments, list | tuple):
        return saferepr(tuple(map(_masked, arguments)), maxlen=LONGEST)
    return saferepr(arguments, maxlen=LONGEST)


def _masked(value: object) -> object:
    if not isinstance(value, str) or "://" not in value:
        return value
    return re.sub(r"\?.*", f"?{MASK}", re.sub(r"//[^/@]*@", f"//{MASK}@", value), flags=re.DOTALL)
