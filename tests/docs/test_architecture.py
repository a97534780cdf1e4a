from __future__ import annotations

from docs.architecture import PAGE, page, rooms
from worker.core.lifecycle import state_diagram


def test_the_page_is_drawn_from_the_code() -> None:
    """The committed page has the states and the rooms of the code, and each room makes a promise."""
    text = PAGE.read_text(encoding="utf-8")

    assert text == page(), "run `make docs`"
    assert state_diagram() in text
    assert rooms() in text
    assert "|  |" not in rooms()
