"""Which lessons there are to be: what each is made of, where it lies, and how it is kept.

A lesson is a variant of an example as the student hears it, with what its teachers say of it. Each is a file of its
own, named by everything that it is made of; so a training that was interrupted, and another one over partly the same
examples, make only what is not there.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import platformdirs
from safetensors import SafetensorError
from safetensors.numpy import load, save

from tagcli.audio.clips import ClipRule
from tagcli.audio.sources import Waveform
from tagcli.audio.treatment import resample
from tagcli.datasets.clip_cache import ClipCache, quantise
from tagcli.datasets.manifest import Manifest
from tagcli.errors import TrainingError
from tagcli.training.teachers import Scores, Teachers
from tagcli.training.teaching import TeachingRecipe
from tagcli.training.variants import Variant, VariantPlan, render

FORMAT_VERSION = 1
SUFFIX = ".safetensors"


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
        self._shares = recipe.teacher_shares
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

    def agree(self, scores: Scores) -> Scores:
        """Make one opinion of the teachers' scores; see `Teachers.agree`."""
        return self.teachers.agree(scores, self._shares)

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
        return self.folder / digest[:2] / f"{digest[2:34]}{SUFFIX}"

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
        keep_whole(path, self._pack(heard, scores))

    def _pack(self, waveform: Waveform, scores: npt.NDArray[np.floating]) -> bytes:
        samples, scale = quantise(waveform)
        return save({"samples": samples, "scale": np.array([scale], np.float32), "scores": scores.astype(np.float32)})


def load_lesson(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read the arrays of a file.

    Raises
    ------
    TrainingError
        When it is damaged or gone.
    """
    try:
        return load(path.read_bytes())
    except (OSError, SafetensorError, ValueError) as error:
        msg = f"The lesson {path} cannot be read ({error}); delete it, and --resume makes it anew."
        raise TrainingError(msg, path=path) from error


def keep_whole(path: Path, content: bytes) -> None:
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


@contextmanager
def translated(folder: Path) -> Iterator[None]:
    """Say which folder it is that something is the matter with.

    Raises
    ------
    TrainingError
        In place of an OSError.
    """
    try:
        yield
    except OSError as error:
        msg = f"Lessons cannot be kept in {folder} ({error.strerror}); check the folder and its free space."
        raise TrainingError(msg, path=folder) from error
