"""Every number of what a student hears and learns from its teachers."""

from dataclasses import dataclass
from typing import Literal

from tagcli.training.rules import require

MAX_VARIANTS = 10_000
MAX_PITCH_SEMITONES = 6.0
MAX_TEMPO_OCTAVES = 0.5

TeachingLoss = Literal["scores", "logits"]
TeachersPrecision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class TeachingRecipe:
    """What a student learns from its teachers, who hear every variant of an example that it hears itself.

    Parameters
    ----------
    teachers
        Names of their weights; none, where labels are learned.
    teacher_shares
        How much each of them has to say where several know a tag; none for equal shares.
    precision
        Arithmetic of the teachers' networks: ``bfloat16`` is faster on processors and GPUs that have it.
    n_variants
        Variants that are made of each example; an epoch sees all of them.
    loss
        Whether the student is to have its teachers' ``scores`` (cross-entropy) or their ``logits`` (squared difference,
        in standard deviations of each tag). Hinton et al., "Distilling the knowledge in a neural network" (2015),
        equation 2 and section 2.1.
    treated_share
        Share of the variants whose pitch and tempo, and of those whose sound, is changed at all.
    mixed_share
        Share of the variants that are mixed with an example of another artist.
    mixed_level_db
        The other example is at most so much softer than the first.
    pitch_semitones
        The pitch is changed by up to so much either way.
    tempo_octaves
        The tempo is changed by up to so many doublings either way.
    equaliser_db
        Bass, treble and a peak in between are changed by up to so much either way.
    low_pass_share, mp3_share
        Share of the variants that lose their high frequencies, and that are coded as mp3 with few bits.
    gain_db
        The level is changed by up to so much either way.
    """

    teachers: tuple[str, ...] = ()
    teacher_shares: tuple[float, ...] = ()
    precision: TeachersPrecision = "float32"
    n_variants: int = 20
    loss: TeachingLoss = "logits"
    treated_share: float = 0.7
    mixed_share: float = 0.5
    mixed_level_db: float = 12.0
    pitch_semitones: float = 4.0
    tempo_octaves: float = 0.25
    equaliser_db: float = 8.0
    low_pass_share: float = 0.15
    mp3_share: float = 0.15
    gain_db: float = 6.0

    def __post_init__(self) -> None:
        require(len(set(self.teachers)) == len(self.teachers), "no teacher is named twice")
        is_parallel = len(self.teacher_shares) in (0, len(self.teachers))
        require(
            is_parallel and min(self.teacher_shares, default=1.0) > 0, "each teacher has a positive share, or none has"
        )
        require(1 <= self.n_variants <= MAX_VARIANTS, f"n_variants lies between 1 and {MAX_VARIANTS}")
        shares = (self.treated_share, self.mixed_share, self.low_pass_share, self.mp3_share)
        require(min(shares) >= 0 and max(shares) <= 1, "shares lie between 0 and 1")
        extents = (self.mixed_level_db, self.pitch_semitones, self.tempo_octaves, self.equaliser_db, self.gain_db)
        require(min(extents) >= 0, "levels, pitch_semitones and tempo_octaves are not negative")
        require(
            self.pitch_semitones <= MAX_PITCH_SEMITONES and self.tempo_octaves <= MAX_TEMPO_OCTAVES,
            f"pitch_semitones is at most {MAX_PITCH_SEMITONES:g} and tempo_octaves at most {MAX_TEMPO_OCTAVES:g}",
        )
