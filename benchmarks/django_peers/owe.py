"""Owe webhooks: `python -m benchmarks.django_peers.owe --count N --hook URL`, with its environment."""

from __future__ import annotations

import argparse
import os

import django
from django.core.management import call_command
from django.db import transaction

from benchmarks.django_peers.celery import app
from benchmarks.gateway import DATA


def outbound(*, hook: str, count: int) -> None:
    """Register one endpoint and fire events, as the package's documents show."""
    from django_domain_events import fire  # noqa: PLC0415
    from django_outbound_webhooks import register_endpoint  # noqa: PLC0415 - needs Django set up

    from benchmarks.django_peers.events import SongFinished  # noqa: PLC0415

    register_endpoint(
        name="receiver",
        url=hook,
        secret="whsec_YmVuY2htYXJrcy1vbmx5LWEtc2VjcmV0LW9mLTMyYg==",  # noqa: S106 - made up
        event_names=["django_peers.SongFinished"],
    )
    with transaction.atomic():
        for number in range(count):
            fire(SongFinished(task_id=f"t{number}", data=DATA))


def webhook(*, hook: str, count: int) -> None:
    """Make one webhook with a secret and save rows, as the package's documents show."""
    from django_webhook.models import Webhook, WebhookSecret, WebhookTopic  # noqa: PLC0415 - needs Django set up

    from benchmarks.django_peers.models import Song  # noqa: PLC0415

    owed = Webhook.objects.create(url=hook)
    topic, _ = WebhookTopic.objects.get_or_create(name="django_peers.Song/create")
    owed.topics.add(topic)
    WebhookSecret.objects.create(webhook=owed, token="benchmarks-only")  # noqa: S106 - made up
    for number in range(count):
        Song.objects.create(task_id=f"t{number}", data=DATA)


def main() -> None:
    """Make the tables, then owe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--hook", required=True)
    chosen = parser.parse_args()
    app.set_default()  # before the packages' tasks bind themselves to an app
    django.setup()
    call_command("migrate", run_syncdb=True, verbosity=0)
    owe = {"outbound": outbound, "webhook": webhook}[os.environ["PEER_PACKAGE"]]
    owe(hook=chosen.hook, count=chosen.count)
    print("{}")


if __name__ == "__main__":
    main()
