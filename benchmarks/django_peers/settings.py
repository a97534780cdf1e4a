"""Settings of the project: loopback allowed, database connections kept where that is compared, no more."""

from __future__ import annotations

import os

PACKAGES = {
    "outbound": ["django_domain_events", "django_outbound_webhooks"],
    "webhook": ["django_webhook"],
}

SECRET_KEY = "benchmarks-only"  # noqa: S105 - signs nothing
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    *PACKAGES[os.environ["PEER_PACKAGE"]],
    "benchmarks.django_peers.apps.PeersConfig",
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": os.environ["PEER_DATABASE_HOST"],
        "NAME": os.environ["PEER_DATABASE_NAME"],
        "USER": "postgres",
        # Django closes its connection after each Celery task unless it is told not to.
        "CONN_MAX_AGE": None if os.environ["PEER_KEEPS_CONNECTIONS"] == "yes" else 0,
    }
}
DJANGO_OUTBOUND_WEBHOOKS = {"ALLOW_PRIVATE_ADDRESSES": True}
DJANGO_WEBHOOK = {"MODELS": ["django_peers.Song"]}
