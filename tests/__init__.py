"""The tests, in the shape of `worker/`."""
