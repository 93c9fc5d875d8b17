"""What a student and its teachers hear: excerpts at another place, pitch and tempo, mixed, and in another sound.

Each variant is drawn from the seed, its excerpt and its number alone: neither the order of the examples nor who else is
among them changes it. Only a partner that is not to be heard is replaced by the next one that is drawn.
"""

import hashlib
import logging
import math
from dataclasses import dataclass, replace

import numpy as np

from tagcli.artists import artist_key
from tagcli.audio.sources import Waveform
from tagcli.audio.treatment import Sound, play_at, sound_like
from tagcli.datasets.audio import ExampleAudio
from tagcli.datasets.manifest import Manifest
from tagcli.training.teaching import TeachingRecipe

logger = logging.getLogger(__name__)

_MAX_DRAWS = 1_000  # of a partner, before an example stays alone
_PEAK_HZ = (250.0, 4_000.0)
_LOW_PASS_HZ = (2_000.0, 7_000.0)
_MP3_BIT_RATES = (16_000, 24_000, 32_000, 48_000)
_QUIET_RMS = 1e-4  # softer music is not mixed
_HIGHEST_SHARE = 0.9  # of the frequencies that there are
_MARGIN_SECONDS = 0.05  # that playing at another tempo may take away
_SEMITONES = 12  # of an octave
_CHOICES, _PARTNERS = 0, 1  # what is drawn


@dataclass(frozen=True, kw_only=True)
class Voice:
    """One excerpt's voice in a variant.

    Parameters
    ----------
    row
        The example.
    position
        Where in it, in [0, 1]: 0 is the earliest place, 1 the latest.
    pitch, tempo
        Factors; see `tagcli.audio.treatment.play_at`.
    level_db
        Over the level of the first voice.
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
    voices
        The example, and the one that it is mixed with, if it is.
    sound
        How both sound.
    gain_db
        Of the whole.
    """

    voices: tuple[Voice, ...]
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
    sample_rate
        That variants are made at, in Hz: the highest frequency is half of it.
    """

    def __init__(
        self, manifest: Manifest, everything: Manifest, recipe: TeachingRecipe, *, seed: int, sample_rate: int
    ) -> None:
        self._recipe, self._seed = recipe, seed
        self._highest_hz = _HIGHEST_SHARE * sample_rate / 2
        self._keys = [_key(manifest, row) for row in range(len(manifest))]
        self._rows = {key: row for row, key in enumerate(self._keys)}
        keys = {_key(everything, row) for row in range(len(everything))}
        self._all_keys = sorted(keys)  # whatever order they are given in
        self._artists = [artist_key(artist) for artist in manifest.artists]
        self._has_others = len(set(self._artists)) > 1 or ("" in self._artists and len(self._artists) > 1)
        if recipe.mixed_share and not self._has_others:
            logger.warning("All examples of %s are of one artist, so that none are mixed.", manifest.name)

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
        voices = [self._draw_voice(row, rng, has_speed=has_speed, softer_db=0.0)]
        other = self._draw_voice(row, rng, has_speed=has_speed, softer_db=recipe.mixed_level_db)
        partner = self._draw_partner(row, number) if is_mixed and self._has_others else None
        if partner is not None:
            voices.append(replace(other, row=partner))
        sound = self._draw_sound(rng, has_sound=has_sound)
        return Variant(voices=tuple(voices), sound=sound, gain_db=float(rng.uniform(-1, 1)) * recipe.gain_db)

    def _draw_voice(self, row: int, rng: np.random.Generator, *, has_speed: bool, softer_db: float) -> Voice:
        """Draw place, pitch, tempo and level."""
        position, pitch, tempo, level = rng.random(), *rng.uniform(-1, 1, 2), rng.random()
        recipe = self._recipe
        return Voice(
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
            Sound(bass_db=gains[0], treble_db=gains[1], peak_hz=self._place(peak, _PEAK_HZ), peak_db=gains[2])
            if has_sound
            else Sound()
        )
        return replace(
            coloured,
            low_pass_hz=self._place(low_pass, _LOW_PASS_HZ) if is_low else None,
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

    def _place(self, share: float, bounds: tuple[float, float]) -> float:
        """Place a frequency between bounds, as far as there are such frequencies, by octaves."""
        low, high = (min(bound, self._highest_hz) for bound in bounds)
        return float(low * (high / low) ** share)

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
    mixed, *others = [_render_voice(voice, audio, n_samples) for voice in variant.voices]
    level = _rms(mixed)
    for voice, waveform in zip(variant.voices[1:], others, strict=True):
        own = _rms(waveform)
        if min(level, own) > _QUIET_RMS:  # what is next to silent stays alone
            mixed = mixed + np.float32(10 ** (voice.level_db / 20) * level / own) * waveform
            mixed = mixed * np.float32(level / max(_rms(mixed), _QUIET_RMS))
    sounding = sound_like(mixed, audio.sample_rate, variant.sound) * np.float32(10 ** (variant.gain_db / 20))
    peak = float(np.abs(sounding).max(initial=0.0))
    return sounding / np.float32(peak) if peak > 1.0 else sounding


def _render_voice(voice: Voice, audio: ExampleAudio, n_samples: int) -> Waveform:
    """Read an excerpt and play it at its pitch and tempo [shape=(n_samples,)]; a shorter one is repeated."""
    is_played_at = voice.pitch != 1 or voice.tempo != 1
    margin = round(_MARGIN_SECONDS * audio.sample_rate) if is_played_at else 0
    wanted = math.ceil(n_samples * voice.tempo) + margin
    spare = audio.n_samples(voice.row) - wanted
    start = round(voice.position * spare)
    waveform = audio.read_part(voice.row, start, wanted) if spare >= 0 else audio.read(voice.row)
    if is_played_at and len(waveform) > margin:  # of less nothing may be left
        waveform = play_at(waveform, audio.sample_rate, pitch=voice.pitch, tempo=voice.tempo)
    return np.resize(waveform, n_samples) if len(waveform) < n_samples else waveform[:n_samples]


def _rms(waveform: Waveform) -> float:
    return math.sqrt(float(np.dot(waveform, waveform)) / max(1, len(waveform)))


def _key(manifest: Manifest, row: int) -> int:
    """Make a number of what an excerpt is."""
    start, duration = float(manifest.starts_seconds[row]), float(manifest.durations_seconds[row])
    name = f"{manifest.paths[row]}\0{start!r}\0{duration!r}".encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(name).digest()[:8], "big")
