from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

import click
import pytest

import worker.cli
from tests.cli.conftest import Cli
from tests.pages import check_usage
from worker.cli import VERBS, main
from worker.version import __version__

# They run until they are stopped, or print one word.
WITHOUT_JSON = {"up", "demo", "exporter", "sandbox", "secret"}


def commands() -> Iterator[tuple[str, ...]]:
    """Yield every verb, and every verb below a group."""
    context = click.Context(main)
    for verb in VERBS:
        yield (verb,)
        command = main.get_command(context, verb)
        if isinstance(command, click.Group):
            yield from ((verb, name) for name in command.commands)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_can_be_loaded_and_explains_itself(bare_cli: Cli, verb: str) -> None:
    """`--help` of each verb works in an empty folder with nothing configured."""
    result = bare_cli(verb, "--help")

    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: suno-worker {verb} ")
    assert result.stderr == ""


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_help_has_examples_that_are_right(
    bare_cli: Cli, words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--help` of every verb ends with examples, and each of them is a call with such options."""
    shown = bare_cli(*words, "--help").stdout.partition("Examples:\n")[2]

    calls = re.findall(r"suno-worker [^)|\n]+", re.sub(r'"\$\w+"', "whsec_AAAA", shown))
    assert any(call.split()[1 : len(words) + 1] == list(words) for call in calls)
    for call in calls:
        check_usage(shlex.split(call.replace("\\", "")), folder=tmp_path, monkeypatch=monkeypatch)


@pytest.mark.parametrize("verb", sorted(set(VERBS) - WITHOUT_JSON))
def test_every_verb_that_finds_something_has_json(bare_cli: Cli, verb: str) -> None:
    """A verb that lists, counts or changes rows prints JSON with `--json`."""
    assert "--json" in bare_cli(verb, "--help").stdout


def test_help_lists_every_verb_and_imports_none() -> None:
    """`suno-worker --help` answers at once: no verb's module is loaded for it."""
    script = (
        "import sys\n"
        "from worker.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "print(*[name for name in sys.modules if name.startswith('worker.cli.')], file=sys.stderr)\n"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    listed = [line.split()[0] for line in done.stdout.split("Verbs:\n")[1].splitlines() if line[2:3].strip()]
    assert listed[: len(VERBS)] == list(VERBS)
    assert done.stderr.strip() == ""


def test_an_unknown_verb_is_wrong_usage(bare_cli: Cli) -> None:
    """A verb that does not exist ends with exit code 2."""
    result = bare_cli("enque")

    assert result.exit_code == 2
    assert "No such command 'enque'" in result.stderr


def test_a_missing_package_breaks_its_own_verb_only(bare_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A verb whose package is not installed says what is missing and how to get it; the others work."""
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    for name in [name for name in sys.modules if name.startswith(("worker.cli.", "worker.sandbox."))]:
        monkeypatch.delitem(sys.modules, name)

    broken, other = bare_cli("sandbox", "receiver"), bare_cli("secret")

    assert (broken.exit_code, other.exit_code) == (1, 0)
    assert broken.stderr.startswith("Error: `sandbox` cannot be loaded (")
    assert "aiohttp" in broken.stderr
    assert broken.stderr.endswith(": pip install 'suno-worker[sandbox,flower]'\n")


def test_a_mistake_of_ours_keeps_its_traceback(bare_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only failures that were expected are shortened to one line."""

    @click.command()
    def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(worker.cli, "VERBS", MappingProxyType({"broken": ("tests.cli.broken:broken", "")}))
    monkeypatch.setattr("worker.cli.import_module", lambda _: type("module", (), {"broken": broken}))

    assert isinstance(bare_cli("broken").exception, ZeroDivisionError)


def test_the_version_is_the_packages(bare_cli: Cli) -> None:
    """`--version` names this version."""
    assert bare_cli("--version").stdout == f"suno-worker, version {__version__}\n"


def test_the_shell_completes_verbs(bare_cli: Cli) -> None:
    """Shell completion knows the verbs, and loads only those that fit."""
    env = {"_SUNO_WORKER_COMPLETE": "bash_complete", "COMP_WORDS": "suno-worker se", "COMP_CWORD": "1"}

    assert bare_cli(env=env).stdout == "plain,settings\nplain,secret\n"
