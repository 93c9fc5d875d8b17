"""Lessons: variants of examples as the student hears them, with what its teachers say of them, kept on the disk.

Each is a file of its own, named by everything that it is made of; so a training that was interrupted, and another one
over partly the same examples, make only what is not there.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import platformdirs
from safetensors import SafetensorError
from safetensors.numpy import load, save

from tagcli.audio.clips import ClipChoice, ClipRule
from tagcli.audio.sources import Waveform
from tagcli.audio.treatment import resample
from tagcli.datasets.audio import check_part
from tagcli.datasets.clip_cache import ClipCache, quantise
from tagcli.datasets.manifest import Manifest
from tagcli.errors import TrainingError
from tagcli.training.recipe import TeachingRecipe
from tagcli.training.teachers import Scores, Teachers, find_top
from tagcli.training.variants import Variant, VariantPlan, render

FORMAT_VERSION = 1
_SUFFIX = ".safetensors"
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


class LessonPlan:
    """Which lessons there are to be: `n_variants` of every example.

    Parameters
    ----------
    audio
        The examples that are learned from, at a rate that does for everybody.
    everything
        The data set that they are a part of.
    teachers
        Who hears them.
    recipe
        How many there are, and how they vary.
    seed
        What they are drawn from.
    clip, sample_rate
        How long the student's clips are, and their rate in Hz.
    """

    def __init__(
        self,
        audio: ClipCache,
        everything: Manifest,
        teachers: Teachers,
        recipe: TeachingRecipe,
        *,
        seed: int,
        clip: ClipRule,
        sample_rate: int,
    ) -> None:
        self.audio, self.teachers, self.sample_rate = audio, teachers, sample_rate
        self.n_samples = clip.n_samples
        self._variants = VariantPlan(audio.manifest, everything, recipe, seed=seed)
        self._n_examples = len(audio.manifest)
        self.manifest = audio.manifest.take(np.tile(np.arange(self._n_examples), recipe.n_variants))
        made = {
            "format_version": FORMAT_VERSION,
            "sample_rate": sample_rate,
            "n_samples": clip.n_samples,
            "source_rate": audio.sample_rate,
            "teachers": teachers.sha256s,
        }
        name = hashlib.sha256(json.dumps(made).encode()).hexdigest()[:16]
        self.folder = platformdirs.user_cache_path("tagcli") / "lessons" / name
        self.n_bytes_each = len(self._pack(np.zeros(clip.n_samples, dtype=np.float32), np.zeros(teachers.n_outputs)))

    def __len__(self) -> int:
        return len(self.manifest)

    def variant(self, row: int) -> Variant:
        """Draw the variant of a lesson."""
        number, example = divmod(row, self._n_examples)
        return self._variants.draw(example, number)

    def locate(self, row: int) -> Path:
        """Say where a lesson lies: by what it is made of."""
        variant = self.variant(row)
        music = [self.audio.identify(part.row) for part in variant.parts]
        parts = [{**asdict(part), "row": None} for part in variant.parts]
        made = json.dumps([music, parts, asdict(variant.sound), variant.gain_db])
        digest = hashlib.sha256(made.encode()).hexdigest()
        return self.folder / digest[:2] / f"{digest[2:34]}{_SUFFIX}"

    def list_missing(self) -> list[int]:
        """List the lessons that are not there yet, or not whole."""
        return [row for row in range(len(self)) if _measure(self.locate(row)) != self.n_bytes_each]

    def render(self, row: int) -> Waveform:
        """Make the waveform of a lesson [shape=(n_samples,)], at the rate of the examples."""
        n_samples = round(self.n_samples * self.audio.sample_rate / self.sample_rate)
        return render(self.variant(row), self.audio, n_samples)

    def write(self, row: int, waveform: Waveform, scores: Scores) -> None:
        """Keep a lesson: what is heard, at the rate of the examples, and the teachers' scores [shape=(n_outputs,)]."""
        heard = np.zeros(self.n_samples, dtype=np.float32)
        own = resample(waveform, self.audio.sample_rate, self.sample_rate)[: self.n_samples]
        heard[: len(own)] = own
        path = self.locate(row)
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, self._pack(heard, scores))

    def _pack(self, waveform: Waveform, scores: npt.NDArray[np.floating]) -> bytes:
        samples, scale = quantise(waveform)
        return save({"samples": samples, "scale": np.array([scale], np.float32), "scores": scores.astype(np.float32)})


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
    with _translated(plan.folder):
        plan.folder.mkdir(parents=True, exist_ok=True)
        _check_room(plan, len(missing))
    yield _progress(plan, n_done)
    with ThreadPoolExecutor(n_workers, thread_name_prefix="render") as pool:
        for first in range(0, len(missing), _BLOCK):
            rows = missing[first : first + _BLOCK]
            block = _Block(plan, list(pool.map(plan.render, rows)), rows)
            scores = plan.teachers.hear(block, choice=ClipChoice(), n_workers=n_workers)
            with _translated(plan.folder):
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
        scores = np.stack([_load(path)["scores"] for path in self._paths])
        self.logits = plan.teachers.agree(scores)
        labels = find_top(self.logits)
        self.manifest = replace(plan.manifest, labels=labels, known=np.ones_like(labels))

    def n_samples(self, row: int) -> int:
        """See `ExampleAudio.n_samples`."""
        return self._n_samples

    def read(self, row: int) -> Waveform:
        """See `ExampleAudio.read`."""
        lesson = _load(self._paths[row])
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
    path = plan.folder / f"{digest[:32]}{_SUFFIX}"
    if not path.is_file():
        with _translated(plan.folder):
            _replace(path, save({"scores": plan.teachers.hear(audio, choice=choice, n_workers=n_workers)}))
    return find_top(plan.teachers.agree(_load(path)["scores"]))


def _progress(plan: LessonPlan, n_done: int) -> LessonProgress:
    n_bytes = plan.n_bytes_each * len(plan)
    return LessonProgress(n_done=n_done, n_total=len(plan), n_bytes=n_bytes, folder=plan.folder)


def _load(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        return load(path.read_bytes())
    except (OSError, SafetensorError, ValueError) as error:
        msg = f"The lesson {path} cannot be read ({error}); delete it, and --resume makes it anew."
        raise TrainingError(msg, path=path) from error


def _replace(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; after a power cut it may be missing."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _measure(path: Path) -> int | None:
    """Say how long a file is, if it is there."""
    try:
        return path.stat().st_size
    except OSError:
        return None


def _check_room(plan: LessonPlan, n_missing: int) -> None:
    """Refuse to begin with what cannot end."""
    n_bytes, n_free = n_missing * plan.n_bytes_each, shutil.disk_usage(plan.folder).free
    if n_bytes > n_free:
        msg = (
            f"{n_missing} lessons need {n_bytes / 1e9:.1f} GB in {plan.folder} and {n_free / 1e9:.1f} GB are free; "
            "let XDG_CACHE_HOME name a folder on another disk, or take a smaller teaching.n_variants."
        )
        raise TrainingError(msg, path=plan.folder)


@contextmanager
def _translated(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        msg = f"Lessons cannot be kept in {folder} ({error.strerror}); check the folder and its free space."
        raise TrainingError(msg, path=folder) from error
