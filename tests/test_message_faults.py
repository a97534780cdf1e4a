from __future__ import annotations

import msgspec
import pytest

from worker.message_faults import reading_fault, shape_fault


def test_a_fault_that_we_have_no_words_for_stays_as_it_is() -> None:
    """What a later msgspec may say is handed on with the field's name, not lost."""
    error = msgspec.ValidationError("It is odd - at `$.retries`")

    assert shape_fault(error, part="headers") == (
        "headers.retries: It is odd; send it as Celery's send_task does"
    )


@pytest.mark.parametrize("value", ["x" * 5_000, " - at `$.id`" * 50])
def test_a_senders_own_text_pushes_no_advice_out(value: str) -> None:
    """However long a wrong word is, and whatever it says, the field and the advice are told."""
    error = msgspec.ValidationError(f"Invalid enum value '{value}' - at `$.content-type`")

    said = shape_fault(error, part="message")

    assert said.startswith("content-type: is '")
    assert said.endswith("; send JSON: serializer='json'")
    assert len(said) < 200
    assert len(reading_fault(ValueError(value), part="body")) < 300
