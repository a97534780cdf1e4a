"""Decisions: no IO, no clock, no randomness, no logging. Standard library, msgspec and idna only."""
