"""Decisions: no IO, no clock, no randomness, no logging. Standard library and msgspec only."""
