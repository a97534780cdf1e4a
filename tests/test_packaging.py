from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from worker.version import __version__

pytestmark = pytest.mark.xdist_group("packaging")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of a freshly built wheel and sdist."""
    folder = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "hatchling", "build", "--directory", str(folder), cwd=ROOT)
    return folder


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the `bin` of an environment that has the wheel, and borrows the dependencies of this one."""
    home = tmp_path_factory.mktemp("installed")
    venv.create(home)
    scripts = home / "bin"
    (wheel,) = built.glob("*.whl")
    pip = (sys.executable, "-m", "pip", "--python", str(scripts / "python"))
    call(*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel), cwd=home)
    (packages,) = home.glob("lib/python*/site-packages")
    # A path that a .pth file adds has its own .pth files ignored, so our editable install stays out.
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return scripts


def call(*words: str, cwd: Path) -> str:
    """Run a program in a folder, with nothing configured; return what it printed, fail with what it said."""
    done = subprocess.run(
        words, cwd=cwd, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_has_all_that_runs(built: Path) -> None:
    """The wheel has the migrations and the types' marker inside the one package, and nothing beside it."""
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()

    tops = {name.partition("/")[0] for name in names}
    assert tops == {"worker", f"suno_worker-{__version__}.dist-info"}
    assert "worker/py.typed" in names
    migrations = {path.name for path in (ROOT / "migrations").rglob("*.py")}
    assert migrations <= {Path(name).name for name in names if name.startswith("worker/migrations/")}


def test_the_sdist_has_all_that_builds_and_tests(built: Path) -> None:
    """The sdist holds what `make test` needs, so that a packager may run it."""
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    assert {
        "pyproject.toml",
        "Makefile",
        "alembic.ini",
        "migrations/env.py",
        "tests/conftest.py",
        "LICENSE",
    } <= names
    assert not {name for name in names if name.startswith((".venv", "worker.db", ".env"))}


def test_an_installed_wheel_migrates_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    """`suno-worker migrate` and `status` work from the wheel alone, in an empty folder."""
    command = str(installed / "suno-worker")
    where = call(str(installed / "python"), "-c", "import worker; print(worker.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(installed.parent)

    assert call(command, "--version", cwd=tmp_path).strip().endswith(__version__)
    call(command, "migrate", cwd=tmp_path)
    call(command, "migrate", cwd=tmp_path)

    assert json.loads(call(command, "status", "--json", cwd=tmp_path))["tasks"]["SUBMITTED"] == 0


def test_another_package_s_migrations_are_not_ours(installed: Path, tmp_path: Path) -> None:
    """A folder `migrations` beside the installed package belongs to somebody else and is left alone."""
    (packages,) = installed.parent.glob("lib/python*/site-packages")
    stranger = packages / "migrations"
    stranger.mkdir()
    (stranger / "env.py").write_text("raise SystemExit('not ours')", encoding="utf-8")
    try:
        call(str(installed / "suno-worker"), "migrate", cwd=tmp_path)
    finally:
        (stranger / "env.py").unlink()
        stranger.rmdir()


def test_celery_finds_the_app_of_the_wheel(installed: Path, tmp_path: Path) -> None:
    """`celery -A worker` is the installed app; without a broker it ends with a line that says what to do."""
    done = subprocess.run(
        [str(installed / "python"), "-m", "celery", "-A", "worker", "worker"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode != 0
    assert "WORKER_BROKER_URL" in done.stderr
    assert "Traceback" not in done.stderr
