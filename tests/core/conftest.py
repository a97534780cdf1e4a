"""One profile for the properties: a busy machine is slow, which is no counterexample."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("suno-worker", deadline=None, database=None)
settings.load_profile("suno-worker")
