"""What a student and its teachers hear: excerpts at another place, pitch and tempo, mixed, and in another sound.

Each variant is drawn from the seed, its excerpt and its number alone: neither the order of the examples nor who else is
among them changes it. Only a partner that is not to be heard is replaced by the next one that is drawn.
"""

import hashlib
import math
from dataclasses import dataclass, replace

import numpy as np

from tagcli.artists import artist_key
from tagcli.audio.sources import Waveform
from tagcli.audio.treatment import Sound, play_at, sound_like
from tagcli.datasets.audio import ExampleAudio
from tagcli.datasets.manifest import Manifest
from tagcli.training.teaching import TeachingRecipe

_MAX_DRAWS = 1_000  # of a partner, before an example stays alone
_PEAK_HZ = (250.0, 4_000.0)
_LOW_PASS_HZ = (2_000.0, 7_000.0)
_MP3_BIT_RATES = (16_000, 24_000, 32_000, 48_000)
_QUIET_RMS = 1e-4  # softer music is not brought to another's level
_SEMITONES = 12  # of an octave
_CHOICES, _PARTNERS = 0, 1  # what is drawn


@dataclass(frozen=True, kw_only=True)
class Part:
    """One excerpt's part in a variant.

    Parameters
    ----------
    row
        The example.
    position
        Where in it, in [0, 1]: 0 is the earliest place, 1 the latest.
    pitch, tempo
        Factors; see `tagcli.audio.treatment.play_at`.
    level_db
        Over the level of the first part.
    """

    row: int
    position: float
    pitch: float
    tempo: float
    level_db: float


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One thing that is heard.

    Parameters
    ----------
    parts
        The example, and the one that it is mixed with, if it is.
    sound
        How both sound.
    gain_db
        Of the whole.
    """

    parts: tuple[Part, ...]
    sound: Sound
    gain_db: float


class VariantPlan:
    """The variants of every example.

    Parameters
    ----------
    manifest
        The examples that are learned from; partners are among them only.
    everything
        The data set that they are a part of.
    recipe
        What may be done.
    seed
        What it is drawn from.
    """

    def __init__(self, manifest: Manifest, everything: Manifest, recipe: TeachingRecipe, *, seed: int) -> None:
        self._recipe, self._seed = recipe, seed
        self._keys = [_key(manifest, row) for row in range(len(manifest))]
        self._rows = {key: row for row, key in enumerate(self._keys)}
        self._all_keys = sorted(
            {_key(everything, row) for row in range(len(everything))}
        )  # in whatever order they are given
        self._artists = [artist_key(artist) for artist in manifest.artists]

    def draw(self, row: int, number: int) -> Variant:
        """Draw a variant.

        Parameters
        ----------
        row
            The example.
        number
            Which of its variants, from 0.
        """
        recipe, rng = self._recipe, self._generator(_CHOICES, row, number)
        has_speed, has_sound, is_mixed = rng.random(3) < (
            recipe.treated_share,
            recipe.treated_share,
            recipe.mixed_share,
        )
        parts = [self._draw_part(row, rng, has_speed=has_speed, softer_db=0.0)]
        other = self._draw_part(row, rng, has_speed=has_speed, softer_db=recipe.mixed_level_db)
        partner = self._draw_partner(row, number) if is_mixed else None
        if partner is not None:
            parts.append(replace(other, row=partner))
        sound = self._draw_sound(rng, has_sound=has_sound)
        return Variant(parts=tuple(parts), sound=sound, gain_db=float(rng.uniform(-1, 1)) * recipe.gain_db)

    def _draw_part(self, row: int, rng: np.random.Generator, *, has_speed: bool, softer_db: float) -> Part:
        """Draw place, pitch, tempo and level."""
        position, pitch, tempo, level = rng.random(), *rng.uniform(-1, 1, 2), rng.random()
        recipe = self._recipe
        return Part(
            row=row,
            position=position,
            pitch=2 ** (pitch * recipe.pitch_semitones / _SEMITONES) if has_speed else 1.0,
            tempo=2 ** (tempo * recipe.tempo_octaves) if has_speed else 1.0,
            level_db=-level * softer_db,
        )

    def _draw_sound(self, rng: np.random.Generator, *, has_sound: bool) -> Sound:
        """Draw a sound; every number is drawn whether it is wanted or not."""
        recipe = self._recipe
        gains = rng.uniform(-1, 1, 3) * recipe.equaliser_db
        peak, low_pass = rng.random(2)
        is_low, is_coded = rng.random(2) < (recipe.low_pass_share, recipe.mp3_share)
        bit_rate = _MP3_BIT_RATES[rng.integers(len(_MP3_BIT_RATES))]
        coloured = (
            Sound(bass_db=gains[0], treble_db=gains[1], peak_hz=_place(peak, _PEAK_HZ), peak_db=gains[2])
            if has_sound
            else Sound()
        )
        return replace(
            coloured,
            low_pass_hz=_place(low_pass, _LOW_PASS_HZ) if is_low else None,
            mp3_bit_rate=bit_rate if is_coded else None,
        )

    def _draw_partner(self, row: int, number: int) -> int | None:
        """Draw an example of another artist; None when there seems to be none.

        It is drawn from everything until it may be heard: whoever learns from another part of it gets the same partner
        where that can be had, and so the same variant.
        """
        rng = self._generator(_PARTNERS, row, number)
        for _ in range(_MAX_DRAWS):
            partner = self._rows.get(self._all_keys[rng.integers(len(self._all_keys))])
            if partner is None or partner == row:
                continue
            if not self._artists[row] or self._artists[partner] != self._artists[row]:
                return partner
        return None

    def _generator(self, what: int, row: int, number: int) -> np.random.Generator:
        return np.random.default_rng([what, self._seed, self._keys[row], number])


def render(variant: Variant, audio: ExampleAudio, n_samples: int) -> Waveform:
    """Make the waveform of a variant.

    Parameters
    ----------
    variant
        What.
    audio
        The examples.
    n_samples
        How long it is to be.

    Returns
    -------
    numpy.ndarray
        [shape=(n_samples,)], float32, in [-1, 1].

    Raises
    ------
    AudioError
        When an example cannot be heard.
    """
    first, *others = [_render_part(part, audio, n_samples) for part in variant.parts]
    mixed = first
    level = _rms(first)
    for part, waveform in zip(variant.parts[1:], others, strict=True):
        own = _rms(waveform)
        factor = 10 ** (part.level_db / 20) * (level / own if min(level, own) > _QUIET_RMS else 1.0)
        mixed = mixed + np.float32(factor) * waveform
    if others and _rms(mixed) > 0:
        mixed = mixed * np.float32(level / _rms(mixed))
    sounding = sound_like(mixed, audio.sample_rate, variant.sound) * np.float32(10 ** (variant.gain_db / 20))
    peak = float(np.abs(sounding).max(initial=0.0))
    return sounding / np.float32(peak) if peak > 1.0 else sounding


def _render_part(part: Part, audio: ExampleAudio, n_samples: int) -> Waveform:
    """Read an excerpt and play it at its pitch and tempo [shape=(n_samples,)]; a shorter one is repeated."""
    wanted = math.ceil(n_samples * part.tempo)
    spare = audio.n_samples(part.row) - wanted
    start = round(part.position * spare)
    waveform = audio.read_part(part.row, start, wanted) if spare >= 0 else audio.read(part.row)
    played = play_at(waveform, audio.sample_rate, pitch=part.pitch, tempo=part.tempo)
    return np.resize(played, n_samples) if len(played) < n_samples else played[:n_samples]


def _rms(waveform: Waveform) -> float:
    return math.sqrt(float(np.dot(waveform, waveform)) / max(1, len(waveform)))


def _place(share: float, bounds: tuple[float, float]) -> float:
    """Place a frequency between bounds, by octaves."""
    low, high = bounds
    return float(low * (high / low) ** share)


def _key(manifest: Manifest, row: int) -> int:
    """Make a number of what an excerpt is."""
    start, duration = float(manifest.starts_seconds[row]), float(manifest.durations_seconds[row])
    name = f"{manifest.paths[row]}\0{start!r}\0{duration!r}".encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(name).digest()[:8], "big")
