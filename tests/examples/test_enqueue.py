from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.programs import NO_GATEWAY, PATIENCE_S, Program, running
from worker.embedded.valkey import free_port, launch_valkey

pytestmark = pytest.mark.xdist_group("examples")

LOGIN = "me:of-flower"
PROGRAMS = {
    "flower.sh": ["sh", "flower.sh"],
    "flower.mjs": ["node", "flower.mjs"],
    "redis.mjs": ["node", "redis.mjs"],
    "celery-node.mjs": ["node", "celery-node.mjs"],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A worker, and Flower beside it."""

    worker: Program
    settings: dict[str, str]
    folder: Path


@pytest.fixture(scope="module")
def scene(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Give a worker that takes what the examples send, and a Flower with a password."""
    folder = tmp_path_factory.mktemp("scene")
    server = launch_valkey(folder=folder / "valkey")
    settings = {
        **NO_GATEWAY,
        "WORKER_DATABASE_URL": f"sqlite:///{shutil.copy(migrated_file, folder / 'worker.db')}",
        "WORKER_BROKER_URL": server.url,
        "FLOWER_BASIC_AUTH": LOGIN,
    }
    port = free_port()
    with ExitStack() as stack:
        stack.callback(server.stop)
        worker = stack.enter_context(running("worker", "-Q", "enqueue", settings=settings, folder=folder))
        flower = stack.enter_context(running("flower", f"--port={port}", settings=settings, folder=folder))
        worker.wait_for(" ready.")
        flower.wait_for("Visit me at")
        address = f"127.0.0.1:{port}"
        yield Scene(
            worker=worker,
            settings={"BROKER_URL": server.url, "FLOWER_BASIC_AUTH": LOGIN, "FLOWER": f"http://{address}"},
            folder=folder,
        )


@pytest.mark.parametrize("program", [name for name, words in PROGRAMS.items() if shutil.which(words[0])])
def test_an_example_enqueues(program: str, scene: Scene, installed_examples: Path) -> None:
    """What the example sends is taken by a worker as it stands."""
    task_id = f"by-{program}"
    settings = dict(scene.settings)
    if program == "flower.sh":
        settings["FLOWER"] = settings["FLOWER"].replace("//", f"//{LOGIN}@")

    subprocess.run(
        [*PROGRAMS[program], task_id, "MUSIC", "https://example.com/hook"],
        cwd=installed_examples / "enqueue",
        env=os.environ | settings,
        timeout=PATIENCE_S,
        check=True,
    )

    scene.worker.wait_for(f"gateway=main task_id='{task_id}' is under watch")
