"""Serves metrics over HTTP, in threads of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, disable_created_metrics, start_http_server
from prometheus_client.registry import Collector

PORT = 5556  # next to Flower's; Prometheus's own range for exporters has been given away to the last number


@contextmanager
def serving(collector: Collector, *, host: str, port: int) -> Iterator[str]:
    """Serve what `collector` brings inside the block and give its URL; port 0 takes a free one.

    Raises OSError when the address cannot be had.
    """
    # When a series began is of no use here, and would double their number.
    disable_created_metrics()  # type: ignore[no-untyped-call]  # the library left it untyped
    registry = CollectorRegistry()
    registry.register(collector)
    server, thread = start_http_server(port, addr=host, registry=registry)
    try:
        yield f"http://{f'[{host}]' if ':' in host else host}:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
