"""The verb `dead-letters`: malformed messages that were moved aside."""

from __future__ import annotations

import click

from worker.cli.connections import open_broker
from worker.cli.terminal import JSON, at, examples, one_line, print_json, print_table
from worker.dead_letters import DeadLetter, NotRequeued, list_dead_letters, requeue
from worker.settings import load_settings

SHOWN_MESSAGE = 120  # characters; `--json` gives all


@click.command(
    "dead-letters", epilog=examples("suno-worker dead-letters", "suno-worker dead-letters --requeue ID")
)
@click.option("--requeue", "letter_id", metavar="ID", help="Put this one back into its queue, unchanged.")
@JSON
def dead_letters(letter_id: str | None, as_json: bool) -> None:
    """List the messages that no Celery task could take, the newest first, or put one back.

    Such a message would stop every worker, so it is moved aside and kept: the newest 1,000 are.
    """
    with open_broker(load_settings()) as client:
        if letter_id is None:
            letters = list_dead_letters(client)
        else:
            try:
                letters = [requeue(client, letter_id=letter_id)]
            except NotRequeued as error:
                raise click.ClickException(one_line(error)) from error
    if as_json:
        print_json([_json(letter) for letter in letters])
    elif letter_id is not None:
        click.echo(f"{one_line(letter_id)} is back in the queue {one_line(letters[0].queue)}")
    else:
        rows = [(one.id, at(one.at), one.queue, one.reason, _excerpt(one)) for one in letters]
        columns = ("id", "at", "queue", "reason", "message")
        print_table(title="Dead letters", columns=columns, rows=rows)


def _json(letter: DeadLetter) -> dict[str, object]:
    return {
        "id": letter.id,
        "at": letter.at,
        "queue": letter.queue,
        "reason": letter.reason,
        "message": letter.message.decode(errors="backslashreplace"),
        "is_cut": letter.is_cut,
    }


def _excerpt(letter: DeadLetter) -> str:
    return one_line(letter.message.decode(errors="backslashreplace"), limit=SHOWN_MESSAGE)
