from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sandbox.moment import MORNING
from worker.sandbox.songs import SimulatedTask, Stage, clips, lyrics

TASK = SimulatedTask(task_id="t", action="MUSIC", submitted_at=MORNING, lasts=timedelta(seconds=8))


@pytest.mark.parametrize(
    ("seconds", "stage", "progress"),
    [
        (0, Stage.SUBMITTED, 0),
        (1.999, Stage.SUBMITTED, 0),
        (2, Stage.IN_PROGRESS, 25),
        (4, Stage.IN_PROGRESS, 50),
        (7.999, Stage.IN_PROGRESS, 99),
        (8, Stage.SUCCESS, 100),
        (1_000_000, Stage.SUCCESS, 100),
    ],
)
def test_a_task_walks_by_the_clock(seconds: float, stage: Stage, progress: int) -> None:
    """A quarter of its time a task is SUBMITTED, then IN_PROGRESS, and at its end SUCCESS for ever."""
    standing = TASK.at(MORNING + timedelta(seconds=seconds))

    assert (standing.stage, standing.progress) == (stage, progress)


def test_times_appear_when_they_have_come() -> None:
    """Neither the start nor the finish is known before it happened."""
    assert TASK.at(MORNING).started_at is None
    assert TASK.at(MORNING + timedelta(seconds=3)).started_at == MORNING + timedelta(seconds=2)
    assert TASK.at(MORNING + timedelta(seconds=3)).finished_at is None
    assert TASK.at(MORNING + timedelta(seconds=9)).finished_at == MORNING + timedelta(seconds=8)


@given(st.lists(st.floats(min_value=-10, max_value=20), min_size=2))
def test_progress_never_falls(seconds: list[float]) -> None:
    """Whenever one looks, a later look never shows less progress."""
    looks = [TASK.at(MORNING + timedelta(seconds=second)).progress for second in sorted(seconds)]

    assert looks == sorted(looks)


def test_only_finished_clips_have_a_lasting_address() -> None:
    """A streaming clip has the address of a stream, a finished one that of a file, a failed one none."""
    streaming, finished, failed = (
        clips(TASK, stage=stage)[0] for stage in (Stage.IN_PROGRESS, Stage.SUCCESS, Stage.FAILURE)
    )

    assert streaming["audio_url"] == "https://audiopipe.suno.ai/?item_id=t-1"
    assert finished["audio_url"] == "https://cdn1.suno.ai/t-1.mp3"
    assert failed["audio_url"] == ""


def test_lyrics_have_their_text_at_the_end() -> None:
    """The text of lyrics is empty until they are finished."""
    assert lyrics(TASK, stage=Stage.IN_PROGRESS)["text"] == ""
    assert str(lyrics(TASK, stage=Stage.SUCCESS)["text"]).startswith("[Verse]\n")
