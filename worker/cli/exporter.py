"""The verb `exporter`: metrics for Prometheus."""

from __future__ import annotations

import errno
import signal
import threading

import click

from worker import logs
from worker.celery import QUEUES, known_secrets
from worker.cli.connections import open_database
from worker.cli.listening import HOST, port_option
from worker.cli.terminal import examples
from worker.metrics.exporter import GONE_AFTER, Exporter
from worker.metrics.serving import PORT, serving
from worker.settings import LogFormat, load_settings


@click.command(
    epilog=examples(
        "suno-worker exporter",
        "suno-worker exporter --host 0.0.0.0 --port 9500",
        f"curl http://127.0.0.1:{PORT}/metrics",
    )
)
@HOST
@port_option(PORT)
def exporter(*, host: str, port: int) -> None:
    """Serve metrics for Prometheus until Ctrl-C or SIGTERM: one exporter for all workers of a database.

    It reads the database and the broker at each scrape and writes nothing. Whoever reaches its port may read
    how much is where and the names of the gateways, but no task, receiver or secret.
    """
    settings = load_settings()
    logs.configure(
        level=settings.log_level,
        as_json=settings.log_format is LogFormat.JSON,
        secrets=known_secrets(settings),
    )
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with open_database(settings, gone_after=GONE_AFTER) as sessions:
        collector = Exporter(sessions=sessions, queues=QUEUES, broker_url=settings.resolve_broker_url)
        try:
            with serving(collector, host=host, port=port) as url:
                click.echo(f"Metrics at {url}")
                stop.wait()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise click.ClickException(
                f"port {port} is in use: choose another with --port, or 0 for a free one"
            ) from error
