"""The project's one app."""

from __future__ import annotations

import os

from django.apps import AppConfig


class PeersConfig(AppConfig):  # type: ignore[misc]  # Django ships no types
    """Declares the event where its package is installed."""

    name = "benchmarks.django_peers"
    label = "django_peers"

    def ready(self) -> None:
        """Import the declaration, as an app of the package's user does."""
        if os.environ["PEER_PACKAGE"] == "outbound":
            import benchmarks.django_peers.events  # noqa: F401, PLC0415 - models must be ready first
