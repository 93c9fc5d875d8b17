"""Which lessons there are to be: what each is made of, where it lies, and how it is kept.

A lesson is a variant of an example as the student hears it, with what its teachers say of it. Each is a file of its
own, named by everything that it is made of; so a training that was interrupted, and another one over partly the same
examples, make only what is not there.
"""

import hashlib
import json
import struct
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from tagcli.audio.clips import ClipChoice, ClipRule
from tagcli.audio.sources import Waveform
from tagcli.audio.treatment import resample
from tagcli.datasets.audio import ExampleAudio
from tagcli.datasets.clip_cache import ClipCache, quantise
from tagcli.datasets.clip_index import compute_crc
from tagcli.datasets.kept_audio import folder_of
from tagcli.datasets.manifest import Manifest
from tagcli.errors import TrainingError
from tagcli.training.teachers import Scores, Teachers
from tagcli.training.teaching import TeachingRecipe
from tagcli.training.variants import Variant, VariantPlan, render

FORMAT_VERSION = 2  # also raised when the same draws sound otherwise
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
        self._shares, self._precision = recipe.teacher_shares, recipe.precision
        self._variants = VariantPlan(audio.manifest, everything, recipe, seed=seed, sample_rate=audio.sample_rate)
        self._n_examples = len(audio.manifest)
        self.manifest = audio.manifest.take(np.tile(np.arange(self._n_examples), recipe.n_variants))
        made = {
            "format_version": FORMAT_VERSION,
            "sample_rate": sample_rate,
            "n_samples": clip.n_samples,
            "source_rate": audio.sample_rate,
            "teachers": teachers.sha256s,
            **({} if recipe.precision == "float32" else {"precision": recipe.precision}),
        }
        name = hashlib.sha256(json.dumps(made).encode()).hexdigest()[:16]
        self.folder = folder_of("lessons") / name
        self.n_bytes_each = len(self._pack(np.zeros(clip.n_samples, dtype=np.float32), np.zeros(teachers.n_outputs)))

    def __len__(self) -> int:
        return len(self.manifest)

    def hear(
        self, audio: ExampleAudio, *, choice: ClipChoice, rows: Sequence[int] | None = None, n_workers: int
    ) -> Scores:
        """Have the teachers score examples in their precision; see `Teachers.hear`."""
        return self.teachers.hear(audio, choice=choice, rows=rows, precision=self._precision, n_workers=n_workers)

    def average(self, scores: Scores) -> Scores:
        """Make one opinion of the teachers' scores; see `Teachers.average`."""
        return self.teachers.average(scores, self._shares)

    def variant(self, row: int) -> Variant:
        """Draw the variant of a lesson."""
        number, example = divmod(row, self._n_examples)
        return self._variants.draw(example, number)

    def locate(self, row: int) -> Path:
        """Say where a lesson lies: by what it is made of."""
        return locate_by(self.folder, self._digests[row])

    def list_missing(self) -> list[int]:
        """List the lessons that are not there yet, or not whole; of equal ones the first."""
        first_rows = {digest: row for row, digest in reversed(list(enumerate(self._digests)))}
        rows = sorted(first_rows.values())
        return [row for row in rows if _measure(self.locate(row)) != self.n_bytes_each]

    def render(self, row: int) -> Waveform:
        """Make the waveform of a lesson [shape=(n_samples,)], at the rate of the examples."""
        n_samples = round(self.n_samples * self.audio.sample_rate / self.sample_rate)
        return render(self.variant(row), self.audio, n_samples)

    def write(self, row: int, waveform: Waveform, scores: Scores) -> None:
        """Keep a lesson: what is heard, at the rate of the examples, and the teachers' scores [shape=(n_outputs,)]."""
        heard = np.zeros(self.n_samples, dtype=np.float32)
        own = resample(waveform, self.audio.sample_rate, self.sample_rate)[: self.n_samples]
        heard[: len(own)] = own
        keep_whole(self.locate(row), self._pack(heard, scores))

    @cached_property
    def _digests(self) -> list[str]:
        """What each lesson is made of, as a hash."""
        return [self._make_digest(row) for row in range(len(self))]

    def _make_digest(self, row: int) -> str:
        variant = self.variant(row)
        music = [self.audio.identify(voice.row) for voice in variant.voices]
        voices = [{**asdict(voice), "row": None} for voice in variant.voices]
        return make_digest([music, voices, asdict(variant.sound), variant.gain_db])

    def _pack(self, waveform: Waveform, scores: npt.NDArray[np.floating]) -> bytes:
        samples, scale = quantise(waveform)
        return save(
            {
                "samples": samples,
                "scale": np.array([scale], dtype=np.float32),
                "crc32": np.array([compute_crc(samples)], dtype=np.uint32),
                "scores": scores.astype(np.float32),
            }
        )


def read_waveform(path: Path) -> Waveform:
    """Read what is heard in a lesson [shape=(n_samples,)].

    Raises
    ------
    TrainingError
        When it is damaged or gone.
    """
    try:
        lesson = load(path.read_bytes())
        samples, scale = lesson["samples"], lesson["scale"][0]
        is_whole = compute_crc(samples) == lesson["crc32"][0]
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise _damaged(path, str(error)) from error
    if not is_whole:
        raise _damaged(path, "its samples are not those that were written")
    waveform: Waveform = np.multiply(samples, scale, dtype=np.float32)
    return waveform


def read_scores(path: Path) -> Scores | None:
    """Read what the teachers say [shape=(n_outputs,)], and nothing else; None when the file is gone or damaged."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            start, end = json.loads(file.read(length))["scores"]["data_offsets"]
            file.seek(8 + length + start)
            content = file.read(end - start)
    except (OSError, ValueError, KeyError, TypeError, struct.error, OverflowError, MemoryError):
        return None
    return np.frombuffer(content, dtype="<f4") if len(content) == end - start else None


def make_digest(made_of: Any) -> str:
    """Make a name of what something is made of."""
    return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:34]


def locate_by(folder: Path, digest: str) -> Path:
    """Say where a file lies that is named by its digest: in one of 256 folders."""
    return folder / digest[:2] / f"{digest[2:]}{SUFFIX}"


def keep_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; after a power cut it may be missing or damaged."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".tmp", delete=False) as file:
        temporary = Path(file.name)
        try:
            file.write(content)
            file.close()
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _damaged(path: Path, reason: str) -> TrainingError:
    """Delete a lesson that is of no use, so that it is missing, and say so."""
    with suppress(OSError):
        path.unlink()
    msg = f"The lesson {path} cannot be read ({reason}); --resume makes it anew."
    return TrainingError(msg, path=path)


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
