"""The callback as an OpenAPI 3.1 document, drawn from the code that sends it.

`make docs` writes `callback.openapi.json` beside this file, and a test holds it to the code. Generators of
receivers and mock servers read its section `webhooks`.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from worker.core.lifecycle import TERMINAL, Action, Status, Times
from worker.core.schedule import DEFAULT_RETRY_SCHEDULE, SUSPECT_SCHEDULE
from worker.core.webhook import Result, encode_body
from worker.settings import Settings
from worker.version import __version__

DOCUMENT = Path(__file__).with_name("callback.openapi.json")

Json = dict[str, object]

_SUBMITTED = datetime(2026, 11, 21, 22, 57, 51, tzinfo=UTC)
EXAMPLE = Result(
    task_id="4a7ad9f2-8a8b-4d9c-9d4e-5a1f2c3b4d5e",
    notify_hook="https://example.com/hook",
    action=Action.MUSIC,
    status=Status.SUCCESS,
    fail_reason="",
    times=Times(
        submitted_at=_SUBMITTED,
        started_at=_SUBMITTED,
        finished_at=datetime(2026, 11, 21, 22, 58, 54, tzinfo=UTC),
    ),
    progress=100,
    data='[{"id": "1", "status": "complete", "audio_url": "https://example.com/1.mp3"}]',
)

_UNIX = "in unix seconds; 0 where the gateway gave none"
FIELDS: dict[str, Json] = {
    "task_id": {"type": "string", "description": "the id that the gateway's submit answered"},
    "notify_hook": {"type": "string", "format": "uri", "description": "the address this was sent to"},
    "action": {"enum": [one.value for one in Action]},
    "status": {
        "enum": sorted(one.value for one in TERMINAL),
        "description": "final: no other message follows for this task",
    },
    "fail_reason": {
        "type": "string",
        "description": "empty unless FAILURE; starts with `worker: ` where the gateway named no end",
    },
    "submit_time": {"type": "integer", "minimum": 0, "description": f"when it was submitted, {_UNIX}"},
    "start_time": {"type": "integer", "minimum": 0, "description": f"when it was started, {_UNIX}"},
    "finish_time": {"type": "integer", "minimum": 0, "description": f"when it ended, {_UNIX}"},
    "progress": {"type": "string", "pattern": "^[0-9]{1,3}%$"},
    "data": {
        "description": "the gateway's own JSON, byte for byte: clips, lyrics or an object that holds them; "
        "`null` where there is none",
    },
}
HEADERS: dict[str, tuple[Json, str]] = {
    "user-agent": ({"type": "string", "pattern": "^suno-worker/"}, "`suno-worker/` and its version"),
    "webhook-id": (
        {"type": "string"},
        "the delivery's id, the same on every retry and resend: remember it, and a second copy harms nothing",
    ),
    "webhook-timestamp": (
        {"type": "string", "pattern": "^[0-9]+$"},
        "when this attempt was made, in unix seconds; refuse what is older than five minutes",
    ),
    "webhook-attempt": ({"type": "string", "pattern": "^[1-9][0-9]*$"}, "1, 2, …"),
    "webhook-signature": (
        {"type": "string", "pattern": "^v1,[A-Za-z0-9+/]+=*( v1,[A-Za-z0-9+/]+=*)*$"},
        "`v1,` and base64 of HMAC-SHA256 over `id.timestamp.body`, one for each active secret",
    ),
}
ANSWERS: dict[str, str] = {
    "2XX": "Delivered.",
    "3XX": f"Never followed. Tried again {len(SUSPECT_SCHEDULE)} times, then discarded.",
    "408": "Tried again on the full schedule, as 425 and 429; `Retry-After` of 429 counts, up to 12 h.",
    "410": "Gone: discarded at once.",
    "4XX": f"Suspect: tried again {len(SUSPECT_SCHEDULE)} times, then discarded.",
    "5XX": f"Tried again {len(DEFAULT_RETRY_SCHEDULE)} times, the last after 24 h, then discarded; so are "
    "timeouts and refused connections. `Retry-After` of 503 counts, up to 12 h.",
}


def document() -> Json:
    """Return the whole document."""
    body = json.loads(encode_body(EXAMPLE))
    operation: Json = {
        "operationId": "receiveResult",
        "summary": "A Suno task has finished",
        "description": "Sent at least once to the task's `notify_hook`, in no order between tasks; signed as "
        "Standard Webhooks asks, or without a signature where no secret is configured. "
        f"Answer within {Settings().webhook_timeout.seconds} s.",
        "parameters": [
            {
                "name": name,
                "in": "header",
                "required": name != "webhook-signature",
                "schema": schema,
                "description": text,
            }
            for name, (schema, text) in HEADERS.items()
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/Result"}, "example": body}
            },
        },
        "responses": {code: {"description": text} for code, text in ANSWERS.items()},
    }
    schema: Json = {
        "type": "object",
        "description": "The task object of `/suno/fetch`, in the shape of the gateways' own documents.",
        "properties": FIELDS,
        "required": list(body),
        "additionalProperties": False,
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "suno-worker's callback",
            "version": __version__,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "webhooks": {"result": {"post": operation}},
        "components": {"schemas": {"Result": schema}},
    }


def text() -> str:
    """Return the document as it is written to the file."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(text(), encoding="utf-8")
