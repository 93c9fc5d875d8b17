"""Lessons prepared, and opened as what a student hears and is to say."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

from tagcli.audio.clips import ClipChoice
from tagcli.audio.sources import Waveform
from tagcli.datasets.audio import check_part
from tagcli.datasets.clip_cache import ClipCache
from tagcli.errors import TrainingError
from tagcli.training.lesson_plan import SUFFIX, LessonPlan, keep_whole, load_lesson, translated
from tagcli.training.teachers import find_top

_BLOCK = 64  # lessons that are heard together, and then written: what is lost at most


@dataclass(frozen=True, kw_only=True)
class LessonProgress:
    """How far lessons have been prepared.

    Parameters
    ----------
    n_done, n_total
        How many are there, of how many.
    n_bytes
        How much room all of them take.
    folder
        Where they are.
    """

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
        When there is not enough room, or it cannot be written.
    """
    missing = plan.list_missing()
    n_done = len(plan) - len(missing)
    with translated(plan.folder):
        plan.folder.mkdir(parents=True, exist_ok=True)
        _check_room(plan, len(missing))
    yield _progress(plan, n_done)
    with ThreadPoolExecutor(n_workers, thread_name_prefix="render") as pool:
        for first in range(0, len(missing), _BLOCK):
            rows = missing[first : first + _BLOCK]
            block = _Block(plan, list(pool.map(plan.render, rows)), rows)
            scores = plan.teachers.hear(block, choice=ClipChoice(), n_workers=n_workers)
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

    Attributes
    ----------
    logits
        What the teachers say together [shape=(n_lessons, n_tags)].

    Raises
    ------
    TrainingError
        When a lesson is damaged or gone; also when one is read.
    """

    def __init__(self, plan: LessonPlan) -> None:
        self.sample_rate = plan.sample_rate
        self._n_samples = plan.n_samples
        self._paths = [plan.locate(row) for row in range(len(plan))]
        scores = np.stack([load_lesson(path)["scores"] for path in self._paths])
        self.logits = plan.agree(scores)
        labels = find_top(self.logits)
        self.manifest = replace(plan.manifest, labels=labels, known=np.ones_like(labels))

    def n_samples(self, row: int) -> int:
        """See `ExampleAudio.n_samples`."""
        return self._n_samples

    def read(self, row: int) -> Waveform:
        """See `ExampleAudio.read`."""
        lesson = load_lesson(self._paths[row])
        waveform: Waveform = np.multiply(lesson["samples"], lesson["scale"][0], dtype=np.float32)
        return waveform

    def read_part(self, row: int, start: int, n_samples: int) -> Waveform:
        """See `ExampleAudio.read_part`."""
        check_part(start, n_samples, self._n_samples)
        return self.read(row)[start : start + n_samples]


def label_examples(audio: ClipCache, plan: LessonPlan, choice: ClipChoice, *, n_workers: int) -> npt.NDArray[np.bool_]:
    """Label examples as they are by the best tags of the teachers, who are asked once.

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

    Returns
    -------
    numpy.ndarray
        [shape=(n_examples, n_tags)]; see `tagcli.training.teachers.find_top`.

    Raises
    ------
    TrainingError
        When what they say cannot be kept, or what was kept is damaged.
    """
    music = [audio.identify(row) for row in range(len(audio.manifest))]
    digest = hashlib.sha256(json.dumps([str(choice), music]).encode()).hexdigest()
    path = plan.folder / f"{digest[:32]}{SUFFIX}"
    if not path.is_file():
        with translated(plan.folder):
            keep_whole(path, save({"scores": plan.teachers.hear(audio, choice=choice, n_workers=n_workers)}))
    return find_top(plan.agree(load_lesson(path)["scores"]))


def _progress(plan: LessonPlan, n_done: int) -> LessonProgress:
    n_bytes = plan.n_bytes_each * len(plan)
    return LessonProgress(n_done=n_done, n_total=len(plan), n_bytes=n_bytes, folder=plan.folder)


def _check_room(plan: LessonPlan, n_missing: int) -> None:
    """Refuse to begin with what cannot end."""
    n_bytes, n_free = n_missing * plan.n_bytes_each, shutil.disk_usage(plan.folder).free
    if n_bytes > n_free:
        msg = (
            f"{n_missing} lessons need {n_bytes / 1e9:.1f} GB in {plan.folder} and {n_free / 1e9:.1f} GB are free; "
            "let XDG_CACHE_HOME name a folder on another disk, or take a smaller teaching.n_variants."
        )
        raise TrainingError(msg, path=plan.folder)
