"""suno-worker: watches Suno tasks at a gateway and POSTs each finished result to its notify_hook."""

__version__ = "0.1.0"
