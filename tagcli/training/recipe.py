"""Every number of a training, and what each of them may be."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from tagcli.audio.clips import ClipChoice, ClipRule
from tagcli.features.config import FrontEndConfig
from tagcli.models.config import ConvNetConfig, ModelConfig
from tagcli.training.rules import require
from tagcli.training.teaching import TeachingRecipe

MAX_MASKS = 8  # of each kind

OptimizerName = Literal["adam", "adamw"]
Schedule = Literal["constant", "cosine", "plateau"]
Keep = Literal["best", "last"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
PositiveWeights = Literal["none", "balanced"]
ClipCacheUse = Literal["waveforms", "none"]
BatchNormPolicy = Literal["update", "keep"]


@dataclass(frozen=True, kw_only=True)
class DataRecipe:
    """What is learned from, and how it is read.

    Parameters
    ----------
    train, validation
        Names of the splits; without a validation split there is no early stopping and the last weights are the best.
    validation_clips
        Clips of each validation example: ``all``, ``middle`` or a number.
    cache
        Whether waveforms are decoded once into a cache, or each time anew.
    cache_seconds
        How much of a longer example the cache keeps, from its middle.
    """

    train: tuple[str, ...] = ("train",)
    validation: tuple[str, ...] = ("validation",)
    validation_clips: str = "all"
    cache: ClipCacheUse = "waveforms"
    cache_seconds: float = 60.0

    def __post_init__(self) -> None:
        try:
            ClipChoice.parse(self.validation_clips)
        except ValueError as error:
            msg = f"validation_clips: {error}"
            raise ValueError(msg) from error
        require(bool(self.train), "there is at least one split to train on")
        require(not set(self.train) & set(self.validation), "no split is for training and for validation")
        require(self.cache_seconds > 0, "cache_seconds is positive")


@dataclass(frozen=True, kw_only=True)
class AugmentationRecipe:
    """How an example is varied each time that it is seen.

    Parameters
    ----------
    random_position
        Whether the clip lies anywhere in the excerpt; else in its middle.
    gain_db
        The level is changed by up to so many decibels either way.
    mixup
        Concentration of the beta distribution that two examples are mixed by; 0 for none. Zhang et al., "mixup: Beyond
        empirical risk minimization" (2018), with labels mixed alike.
    n_band_masks, band_mask_bands, n_frame_masks, frame_mask_frames
        How many stripes of the log-mel map are set to its mean, and how wide each is at most. Park et al.,
        "SpecAugment" (2019), section 2.
    """

    random_position: bool = True
    gain_db: float = 0.0
    mixup: float = 0.0
    n_band_masks: int = 0
    band_mask_bands: int = 8
    n_frame_masks: int = 0
    frame_mask_frames: int = 64

    def __post_init__(self) -> None:
        numbers = (self.gain_db, self.mixup, self.n_band_masks, self.n_frame_masks)
        require(min(numbers) >= 0, "gain_db, mixup and the numbers of masks are not negative")
        require(
            max(self.n_band_masks, self.n_frame_masks) <= MAX_MASKS, f"there are at most {MAX_MASKS} masks of a kind"
        )
        require(min(self.band_mask_bands, self.frame_mask_frames) >= 1, "a mask is at least one band or frame wide")


@dataclass(frozen=True, kw_only=True)
class OptimisationRecipe:
    """How weights are changed.

    Parameters
    ----------
    optimizer
        ``adam`` (Kingma and Ba 2015) or ``adamw`` (Loshchilov and Hutter 2019).
    learning_rate, weight_decay
        Of the optimizer; the rate is that after the warm-up.
    batch_size
        Clips for each change of the weights, over all processes.
    n_accumulated
        Parts that a process takes its share of a batch in, each with batch statistics of its own.
    epochs
        How often every example, or every variant of it that teachers have heard, is seen, at most.
    schedule
        ``cosine`` falls to nothing at the end, ``plateau`` multiplies by `plateau_factor` after `plateau_epochs`
        without a better validation, ``constant`` stays.
    warmup_epochs
        The rate rises linearly over so many epochs, at most over half of all.
    patience
        Training ends after so many epochs without a better validation; 0 for never.
    keep
        Which weights stay in the end: those of the ``best`` validation, or the ``last`` ones, which no validation has
        chosen.
    max_gradient_norm
        Longer gradients are shortened to it; 0 for never.
    positive_weights
        ``balanced`` weighs a tag's positives by negatives / positives, at most `max_positive_weight`.
    precision
        Of the network's arithmetic; ``auto`` is bfloat16 on a GPU that has it, else float32.
    seed
        Of everything that is random; less than 2**63.
    save_minutes
        The state is kept at the end of each epoch, and as often in between.
    """

    optimizer: OptimizerName = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    batch_size: int = 16
    n_accumulated: int = 1
    epochs: int = 40
    schedule: Schedule = "cosine"
    warmup_epochs: float = 1.0
    plateau_epochs: int = 5
    plateau_factor: float = 0.3
    patience: int = 0
    keep: Keep = "best"
    max_gradient_norm: float = 1.0
    positive_weights: PositiveWeights = "none"
    max_positive_weight: float = 20.0
    precision: Precision = "auto"
    seed: int = 0
    save_minutes: float = 5.0

    def __post_init__(self) -> None:
        counts = (self.batch_size, self.n_accumulated, self.epochs, self.plateau_epochs)
        require(min(counts) >= 1, "batch_size, n_accumulated, epochs and plateau_epochs begin at 1")
        require(self.learning_rate > 0, "learning_rate is positive")
        others = (self.weight_decay, self.warmup_epochs, self.patience, self.max_gradient_norm, self.seed)
        require(min(others) >= 0, "weight_decay, warmup_epochs, patience, max_gradient_norm and seed are not negative")
        require(self.seed < 2**63, "seed is less than 2**63")
        require(self.keep == "best" or not self.patience, "patience waits for the best validation, so keep is 'best'")
        require(0 < self.plateau_factor < 1, "plateau_factor lies between 0 and 1")
        require(
            self.save_minutes > 0 and self.max_positive_weight >= 1, "save_minutes and max_positive_weight are not 0"
        )


@dataclass(frozen=True, kw_only=True)
class TransferRecipe:
    """What becomes of weights that training begins with.

    Parameters
    ----------
    source
        Name of the weights; nothing for a fresh network.
    n_frozen_blocks
        Blocks, from the input on, that are not changed.
    rate_factor
        The other blocks learn at this share of the head's rate.
    batch_norm
        Whether the blocks that learn ``update`` their running statistics or ``keep`` them; frozen blocks and the front
        end before them always keep theirs.
    """

    source: str = ""
    n_frozen_blocks: int = 0
    rate_factor: float = 1.0
    batch_norm: BatchNormPolicy = "update"

    def __post_init__(self) -> None:
        require(self.n_frozen_blocks >= 0, "n_frozen_blocks is not negative")
        require(0 < self.rate_factor <= 1, "rate_factor lies above 0 and is at most 1")


@dataclass(frozen=True, kw_only=True)
class WeightsRecipe:
    """What the checkpoint says of itself.

    Parameters
    ----------
    licence
        In the words of whoever trains it; nothing when that is left open.
    """

    licence: str = ""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training, every number of it.

    Parameters
    ----------
    data, augmentation, teaching, optimisation, transfer, weights
        See there.
    front_end, clip, model
        What is trained; the checkpoint carries them, too.

    Raises
    ------
    ValueError
        When the schedule needs a validation and there is none, something is done to what teachers are to hear, or batch
        norms would not gather statistics.
    """

    data: DataRecipe = field(default_factory=DataRecipe)
    front_end: FrontEndConfig
    clip: ClipRule
    model: ModelConfig
    augmentation: AugmentationRecipe = field(default_factory=AugmentationRecipe)
    teaching: TeachingRecipe = field(default_factory=TeachingRecipe)
    optimisation: OptimisationRecipe = field(default_factory=OptimisationRecipe)
    transfer: TransferRecipe = field(default_factory=TransferRecipe)
    weights: WeightsRecipe = field(default_factory=WeightsRecipe)

    def __post_init__(self) -> None:
        require(
            bool(self.data.validation) or self.optimisation.schedule != "plateau",
            "[optimisation] schedule can be 'plateau' only where [data] validation names a split",
        )
        require(
            not (isinstance(self.model, ConvNetConfig) and self.model.batch_norm_statistics == "clip"),
            "[model] batch_norm_statistics is 'running', since learning gathers them",
        )
        if self.teaching.teachers:
            require(
                not (self.augmentation.mixup or self.augmentation.gain_db),
                "[augmentation] mixup and gain_db would change what teachers have heard; [teaching] has its own",
            )
            require(
                self.optimisation.positive_weights == "none",
                "[optimisation] positive_weights are for labels; what teachers say has none",
            )
            require(self.data.cache == "waveforms", "[data] cache is 'waveforms' where there are teachers")

    def to_document(self) -> dict[str, Any]:
        """Give the tables of a TOML file; what is None is left out."""
        return {
            name: {key: value for key, value in table.items() if value is not None}
            for name, table in dataclasses.asdict(self).items()
        }
