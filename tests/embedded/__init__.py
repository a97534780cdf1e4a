"""Tests of what `suno-worker up` runs: real processes, started and ended."""
