from __future__ import annotations

import json
from dataclasses import replace

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from docs.callback import ANSWERS, DOCUMENT, EXAMPLE, FIELDS, HEADERS, document, text
from worker.core import webhook
from worker.core.lifecycle import Action, Status
from worker.core.webhook import Result, encode_body

SENT = webhook.headers(
    delivery_id="msg_1",
    attempt=1,
    timestamp=1795299471,
    secrets=[b"n" * 24, b"o" * 24],
    body=b"{}",
    version="1",
)


def test_the_file_is_drawn_from_the_code() -> None:
    """The committed document is what `make docs` writes."""
    assert DOCUMENT.read_text(encoding="utf-8") == text(), "run `make docs`"


def test_the_document_is_valid() -> None:
    """The document is OpenAPI 3.1."""
    OpenAPIV31SpecValidator(json.loads(text())).validate()


@pytest.mark.parametrize(
    "result",
    [
        EXAMPLE,
        replace(EXAMPLE, action=Action.LYRICS, data='{"text": "la"}'),
        replace(EXAMPLE, status=Status.FAILURE, fail_reason="worker: not heard of", progress=0, data=None),
    ],
    ids=["music", "lyrics", "failure"],
)
def test_a_body_fits_its_schema(result: Result) -> None:
    """Every body that we send fits the schema, and names all its fields in the document's order."""
    body = json.loads(encode_body(result))

    Draft202012Validator(schema()).validate(body)
    assert list(body) == list(FIELDS)


@pytest.mark.parametrize(
    "change", [{"status": "IN_PROGRESS"}, {"progress": 100}, {"extra": 1}, {"submit_time": -1}]
)
def test_a_wrong_body_does_not_fit(change: dict[str, object]) -> None:
    """The schema refuses what we never send."""
    body = json.loads(encode_body(EXAMPLE)) | change

    assert not Draft202012Validator(schema()).is_valid(body)


def test_headers_fit() -> None:
    """The document lists the headers that are sent, and each fits its schema."""
    assert set(HEADERS) | {"content-type"} == set(SENT)
    for name, (rule, _) in HEADERS.items():
        Draft202012Validator(rule).validate(SENT[name])


@pytest.mark.parametrize("answer", ANSWERS)
def test_answers_are_status_codes(answer: str) -> None:
    """Each answer that the document explains is a status or a class of them."""
    assert answer.endswith("XX") or 400 <= int(answer) < 500


def schema() -> dict[str, object]:
    """Return the schema of a body."""
    found = json.loads(json.dumps(document()))["components"]["schemas"]["Result"]
    assert isinstance(found, dict)
    return found
