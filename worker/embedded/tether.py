"""Become a command that ends when its parent ends, however the parent ends.

`children.py` runs this file as a script, by its path, so that nothing of the package is imported and the cost
is one bare interpreter start (about 20 ms). On Linux it asks the kernel for a signal at the parent's death
and then becomes the command, so no process is left in between. Elsewhere it stays as a watchdog: it runs the
command, and when the pipe that only the parent holds open is closed, it kills the command.

Limits: a command that starts children of its own must end them itself, and a command that changes its user
after this loses the kernel's promise.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import subprocess
import sys
import threading

PR_SET_PDEATHSIG = 1  # linux/prctl.h
NONE = "-"


def become_user(name: str) -> None:
    """Give up root for the account `name`, with no group but its own."""
    account = pwd.getpwnam(name)
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)


def die_with_parent(*, parent: int, last_signal: int) -> None:
    """Have the kernel send `last_signal` to this process when the thread that started it ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, last_signal, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) was refused")
    if os.getppid() != parent:  # It died before the kernel knew that we care.
        os.kill(os.getpid(), signal.SIGKILL)


def watch_over(command: list[str], *, lifeline: int, last_signal: int) -> int:
    """Run `command` to its end, or until the far end of `lifeline` is closed; give back its exit status."""

    def end_with_parent() -> None:
        os.read(lifeline, 1)  # Nothing is ever written, so this returns at the end of the pipe.
        child.send_signal(last_signal)

    # Signals are sent to the whole group, so the command has its own copy; ours must not end the watch.
    # Handlers and not SIG_IGN, because an ignored signal stays ignored in the command.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: None)
    child = subprocess.Popen(command)
    threading.Thread(target=end_with_parent, daemon=True).start()
    status = child.wait()
    return status if status >= 0 else 128 - status


def main(arguments: list[str]) -> int:
    """`tether.py PARENT SIGNAL USER LIFELINE COMMAND…`, where USER and LIFELINE may be `-`."""
    parent, last_signal, user, lifeline, *command = arguments
    if user != NONE:  # Before the kernel is asked: it forgets its promise when the user changes.
        become_user(user)
    if lifeline == NONE:
        die_with_parent(parent=int(parent), last_signal=int(last_signal))
        os.execvp(command[0], command)  # noqa: S606 - no shell is wanted
    return watch_over(command, lifeline=int(lifeline), last_signal=int(last_signal))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
