"""A simulated task: where it stands at any moment follows from the clock alone.

A task that lasts N seconds is SUBMITTED for the first quarter, IN_PROGRESS with rising progress until
the end, and SUCCESS or FAILURE from then on. Nothing is stored between two looks at it, so a test may
ask for any moment in any order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

_SUBMITTED_PART = 0.25


class Stage(StrEnum):
    """The four words of the family."""

    SUBMITTED = "SUBMITTED"
    IN_PROGRESS = "IN_PROGRESS"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the gateway knows of a task at one moment; a time is None until it has come."""

    stage: Stage
    progress: int  # per cent, 0-100
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.finished_at is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedTask:
    """One task at the simulated gateway.

    `data` is the exact JSON text that the gateway shows as `data` from the end on (for GoAmz: the whole
    `data` object of the answer); without it the sandbox makes up two clips, or lyrics.
    """

    task_id: str
    action: str  # MUSIC or LYRICS
    submitted_at: datetime
    lasts: timedelta
    outcome: Stage = Stage.SUCCESS
    fail_reason: str = ""
    prompt: str = ""
    data: str | None = None

    def at(self, now: datetime) -> Standing:
        """Return where the task stands at `now`."""
        started_at = self.submitted_at + self.lasts * _SUBMITTED_PART
        finished_at = self.submitted_at + self.lasts
        if now >= finished_at:
            return Standing(stage=self.outcome, progress=100, started_at=started_at, finished_at=finished_at)
        if now >= started_at:
            progress = int(100 * ((now - self.submitted_at) / self.lasts))
            return Standing(
                stage=Stage.IN_PROGRESS, progress=progress, started_at=started_at, finished_at=None
            )
        return Standing(stage=Stage.SUBMITTED, progress=0, started_at=None, finished_at=None)


def clips(task: SimulatedTask, *, stage: Stage) -> list[dict[str, object]]:
    """Return the two clips that a MUSIC task makes; only a finished one has a lasting audio URL."""
    return [_clip(task, number=number, stage=stage) for number in (1, 2)]


def lyrics(task: SimulatedTask, *, stage: Stage) -> dict[str, object]:
    """Return what a LYRICS task makes; the text is there when it is finished."""
    text = (
        f"[Verse]\nThe sandbox sings of\n{task.prompt or 'nothing at all'}" if stage is Stage.SUCCESS else ""
    )
    return {"id": task.task_id, "text": text, "title": "Sandbox Song", "status": _clip_word(stage)}


def _clip(task: SimulatedTask, *, number: int, stage: Stage) -> dict[str, object]:
    clip_id = f"{task.task_id}-{number}"
    audio_urls: Mapping[Stage, str] = {
        Stage.SUBMITTED: "",
        Stage.IN_PROGRESS: f"https://audiopipe.suno.ai/?item_id={clip_id}",
        Stage.SUCCESS: f"https://cdn1.suno.ai/{clip_id}.mp3",
        Stage.FAILURE: "",
    }
    return {
        "id": clip_id,
        "title": "Sandbox Song",
        "status": _clip_word(stage),
        "metadata": {
            "tags": "lofi piano",
            "prompt": "[Verse]\nLa la la",
            "duration": 103.2 if stage is Stage.SUCCESS else None,
            "error_type": "generation" if stage is Stage.FAILURE else None,
            "error_message": task.fail_reason if stage is Stage.FAILURE else None,
            "gpt_description_prompt": task.prompt,
        },
        "audio_url": audio_urls[stage],
        "image_url": f"https://cdn1.suno.ai/image_{clip_id}.png",
        "video_url": f"https://cdn1.suno.ai/{clip_id}.mp4" if stage is Stage.SUCCESS else "",
        "model_name": "chirp-v3",
        "image_large_url": f"https://cdn1.suno.ai/image_large_{clip_id}.png",
        "major_model_version": "v3",
    }


def _clip_word(stage: Stage) -> str:
    words: Mapping[Stage, str] = {
        Stage.SUBMITTED: "submitted",
        Stage.IN_PROGRESS: "streaming",
        Stage.SUCCESS: "complete",
        Stage.FAILURE: "error",
    }
    return words[stage]
