"""The Celery app inside the test process, which the environment of a test run leaves without a broker."""

from __future__ import annotations

import pytest
from celery import Celery

from worker.celery import app, settings

BROKER_URL = "redis://:a-password@127.0.0.1:9/0"


def configured_app() -> Celery:
    """Return the app with all its tasks, configured for a broker that nobody needs to reach."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKER_BROKER_URL", BROKER_URL)
        settings.cache_clear()
        app.loader.import_default_modules()
        assert app.conf.broker_url == BROKER_URL
    settings.cache_clear()
    return app
