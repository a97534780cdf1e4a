"""Where a verb that serves something listens: the options `--host` and `--port`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

HOST = click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")


def port_option(default: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option `--port` with its default; 0 takes a free one."""
    return click.option(
        "--port",
        type=click.IntRange(0, 65_535),
        default=default,
        show_default=True,
        help="0 takes a free one.",
    )
