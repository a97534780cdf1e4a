"""`python -m worker`: the same as the console script `suno-worker`."""

from __future__ import annotations

from worker.cli import main

if __name__ == "__main__":
    main(prog_name="python -m worker")
