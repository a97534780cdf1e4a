"""What `suno-worker up` runs: the embedded broker, and the supervisor of worker, Beat and Flower."""
