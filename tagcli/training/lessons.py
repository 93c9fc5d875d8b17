"""Lessons prepared, and opened as what a student hears and is to say."""

import shutil
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from safetensors.numpy import save

from tagcli.audio.clips import ClipChoice
from tagcli.audio.sources import Waveform
from tagcli.datasets.audio import check_part
from tagcli.datasets.clip_cache import ClipCache
from tagcli.errors import TrainingError
from tagcli.evaluation.agreement import clear_labels
from tagcli.training.lesson_plan import (
    LessonPlan,
    keep_whole,
    locate_by,
    make_digest,
    read_scores,
    read_waveform,
    translated,
)
from tagcli.training.teachers import Scores

_BLOCK = 64  # lessons that are heard together, and then written: what is lost at most


@dataclass(frozen=True, kw_only=True)
class LessonProgress:
    """How far lessons have been prepared.

    Parameters
    ----------
    what
        Whether they are lessons, or examples to validate by.
    n_done, n_total
        How many are there, of how many.
    n_bytes
        How much room all of them take; next to nothing is 0.
    folder
        Where they are.
    """

    what: Literal["lessons", "examples"]
    n_done: int
    n_total: int
    n_bytes: int
    folder: Path


def prepare_lessons(plan: LessonPlan, *, n_workers: int) -> Iterator[LessonProgress]:
    """Make the lessons that are not there; what was made stays, whatever ends it.

    Parameters
    ----------
    plan
        Which.
    n_workers
        Threads.

    Yields
    ------
    LessonProgress
        Before the first one, and after each few.

    Raises
    ------
    TrainingError
        When there is not enough room, it cannot be written, or the teachers cannot hear it.
    """
    with translated(plan.folder):
        plan.folder.mkdir(parents=True, exist_ok=True)
        _check_room(plan, len(plan) - sum(1 for _ in plan.folder.glob("*/*")))  # a look, before all are gone through
        missing = plan.list_missing()
        _check_room(plan, len(missing))
    n_done = len(plan) - len(missing)
    yield _progress(plan, n_done)
    with ThreadPoolExecutor(n_workers, thread_name_prefix="render") as pool:
        for first in range(0, len(missing), _BLOCK):
            rows = missing[first : first + _BLOCK]
            block = _Block(plan, list(pool.map(plan.render, rows)), rows)
            scores = plan.hear(block, choice=ClipChoice(), n_workers=n_workers)
            if not np.isfinite(scores).all():
                msg = f"The teachers cannot hear clips of {plan.n_samples / plan.sample_rate:g} s; take longer ones."
                raise TrainingError(msg)
            with translated(plan.folder):
                list(pool.map(plan.write, rows, block.waveforms, scores))
            n_done += len(rows)
            yield _progress(plan, n_done)


class _Block:
    """Lessons that are just being made; an `ExampleAudio`."""

    def __init__(self, plan: LessonPlan, waveforms: list[Waveform], rows: Sequence[int]) -> None:
        self.manifest = plan.manifest.take(rows)
        self.sample_rate = plan.audio.sample_rate
        self.waveforms = waveforms

    def n_samples(self, row: int) -> int:
        """See `ExampleAudio.n_samples`."""
        return len(self.waveforms[row])

    def read(self, row: int) -> Waveform:
        """See `ExampleAudio.read`."""
        return self.waveforms[row]

    def read_part(self, row: int, start: int, n_samples: int) -> Waveform:
        """See `ExampleAudio.read_part`."""
        check_part(start, n_samples, self.n_samples(row))
        return self.waveforms[row][start : start + n_samples]


class Lessons:
    """Gives what the student hears; an `ExampleAudio`.

    Parameters
    ----------
    plan
        Which lessons; all of them are there.
    n_workers
        Threads that read what the teachers say.

    Attributes
    ----------
    logits
        What the teachers say together [shape=(n_lessons, n_tags)]; it is all that there is to be learned, and the
        manifest has no labels.

    Raises
    ------
    TrainingError
        When a lesson is damaged or gone; also when one is read.
    """

    def __init__(self, plan: LessonPlan, *, n_workers: int) -> None:
        self.sample_rate = plan.sample_rate
        self._n_samples = plan.n_samples
        self._locate = plan.locate
        with ThreadPoolExecutor(n_workers, thread_name_prefix="lessons") as pool:
            scores = list(pool.map(lambda row: read_scores(plan.locate(row)), range(len(plan))))
        damaged = [row for row, said in enumerate(scores) if said is None or len(said) != plan.teachers.n_outputs]
        for row in damaged:
            plan.locate(row).unlink(missing_ok=True)
        if damaged:
            msg = f"{len(damaged)} lessons in {plan.folder} were damaged and are deleted; --resume makes them anew."
            raise TrainingError(msg, path=plan.folder)
        self.logits = plan.average(np.stack([said for said in scores if said is not None]))
        self.manifest = clear_labels(plan.manifest, plan.teachers.tags)

    def n_samples(self, row: int) -> int:
        """See `ExampleAudio.n_samples`."""
        return self._n_samples

    def read(self, row: int) -> Waveform:
        """See `ExampleAudio.read`."""
        return read_waveform(self._locate(row))

    def read_part(self, row: int, start: int, n_samples: int) -> Waveform:
        """See `ExampleAudio.read_part`."""
        check_part(start, n_samples, self._n_samples)
        return self.read(row)[start : start + n_samples]


def hear_examples(
    audio: ClipCache, plan: LessonPlan, choice: ClipChoice, *, n_workers: int
) -> Generator[LessonProgress, None, Scores]:
    """Have teachers hear examples as they are; what they have said is kept, whatever ends it.

    Parameters
    ----------
    audio
        The examples.
    plan
        Whose teachers, and where what they say is kept.
    choice
        Which clips of an example.
    n_workers
        Threads.

    Yields
    ------
    LessonProgress
        When there is something to be heard.

    Returns
    -------
    numpy.ndarray
        What they say together, as logits [shape=(n_examples, n_tags)]; a row of nan where an example cannot be heard.

    Raises
    ------
    TrainingError
        When what they say cannot be kept.
    """
    n_examples = len(audio.manifest)
    paths = [locate_by(plan.folder, make_digest([str(choice), audio.identify(row)])) for row in range(n_examples)]
    scores = np.full((n_examples, plan.teachers.n_outputs), np.nan, dtype=np.float32)
    missing = []
    for row, path in enumerate(paths):
        kept = read_scores(path)
        if kept is None or kept.shape != scores[row].shape:
            missing.append(row)
        else:
            scores[row] = kept
    for first in range(0, len(missing), _BLOCK):
        rows = missing[first : first + _BLOCK]
        n_done = n_examples - len(missing) + first
        yield LessonProgress(what="examples", n_done=n_done, n_total=n_examples, n_bytes=0, folder=plan.folder)
        scores[rows] = plan.hear(audio, choice=choice, rows=rows, n_workers=n_workers)
        with translated(plan.folder):
            for row in rows:
                if np.isfinite(scores[row]).all():
                    keep_whole(paths[row], save({"scores": scores[row]}))
    return plan.average(scores)


def _progress(plan: LessonPlan, n_done: int) -> LessonProgress:
    n_bytes = plan.n_bytes_each * len(plan)
    return LessonProgress(what="lessons", n_done=n_done, n_total=len(plan), n_bytes=n_bytes, folder=plan.folder)


def _check_room(plan: LessonPlan, n_missing: int) -> None:
    """Refuse to begin with what cannot end."""
    n_bytes, n_free = n_missing * plan.n_bytes_each, shutil.disk_usage(plan.folder).free
    if n_bytes > n_free:
        msg = (
            f"{n_missing:,} lessons need {n_bytes / 1e9:.1f} GB in {plan.folder} and {n_free / 1e9:.1f} GB are free; "
            "let XDG_CACHE_HOME name a folder on another disk, or take a smaller teaching.n_variants."
        )
        raise TrainingError(msg, path=plan.folder)
