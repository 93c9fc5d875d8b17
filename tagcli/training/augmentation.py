"""How each example is varied: drawn from the seed, the epoch and the example's place in it, and from nothing else.

So an epoch can be taken up in its middle, and several processes draw what one would have drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv  # type: ignore[import-untyped]  # it has no annotations

from tagcli.training.recipe import MAX_MASKS, AugmentationRecipe

_MIDDLE = 0.5
_ORDER, _VARIATION = 0, 1  # what is drawn
_N_NUMBERS = 3 + 4 * MAX_MASKS  # of each example


@dataclass(frozen=True, kw_only=True)
class Variation:
    """What is done to the examples of one batch.

    Parameters
    ----------
    positions
        Where each clip lies in its excerpt [shape=(n_clips,)], in [0, 1].
    gains
        Factors of the waveforms [shape=(n_clips,)].
    mix_shares
        Share of the example itself in a mixture with its partner [shape=(n_clips,)], in [.5, 1]; the partner of the
        first example is the last one, and so on.
    band_masks, frame_masks
        First band or frame of each stripe, and the one behind its last [shape=(n_clips, n_masks, 2)].
    """

    positions: npt.NDArray[np.float64]
    gains: npt.NDArray[np.float32]
    mix_shares: npt.NDArray[np.float32]
    band_masks: npt.NDArray[np.int64]
    frame_masks: npt.NDArray[np.int64]


def order_epoch(n_examples: int, *, seed: int, epoch: int) -> npt.NDArray[np.intp]:
    """Shuffle the examples of an epoch [shape=(n_examples,)]."""
    return np.random.default_rng([_ORDER, seed, epoch]).permutation(n_examples)


def draw_variation(
    places: Sequence[int] | npt.NDArray[np.intp],
    recipe: AugmentationRecipe,
    *,
    seed: int,
    epoch: int,
    n_bands: int,
    n_frames: int,
) -> Variation:
    """Draw what is done to some examples.

    Parameters
    ----------
    places
        Place of each in the order of the epoch.
    recipe
        How much may be done.
    seed, epoch
        What it is drawn from, with the place.
    n_bands, n_frames
        Size of the log-mel map.
    """
    # every number is drawn whether it is wanted or not, each from its own place in the stream
    starts = np.asarray(places, dtype=np.uint64) * np.uint64(_N_NUMBERS)
    indices = np.add.outer(starts, np.arange(_N_NUMBERS, dtype=np.uint64))
    key = int(np.random.SeedSequence([_VARIATION, seed, epoch]).generate_state(1, np.uint64)[0])
    uniform = _draw_uniform(key, indices)
    masks = uniform[:, 3:].reshape(len(places), 2, MAX_MASKS, 2)
    gains = 10 ** ((2 * uniform[:, 1] - 1) * recipe.gain_db / 20)
    shares = betaincinv(recipe.mixup, recipe.mixup, uniform[:, 2]) if recipe.mixup else np.ones(len(places))
    return Variation(
        positions=uniform[:, 0] if recipe.random_position else np.full(len(places), _MIDDLE),
        gains=gains.astype(np.float32),
        mix_shares=np.maximum(shares, 1 - shares).astype(np.float32),
        band_masks=_place_masks(masks[:, 0, : recipe.n_band_masks], recipe.band_mask_bands, n_bands),
        frame_masks=_place_masks(masks[:, 1, : recipe.n_frame_masks], recipe.frame_mask_frames, n_frames),
    )


def _draw_uniform(key: int, indices: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
    """Give the numbers at some places of a stream, in [0, 1), without those before them.

    SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014), figures 16 and 17.

    Parameters
    ----------
    key
        The state that the stream begins with.
    indices
        Which of its numbers, of any shape.
    """
    golden = np.uint64(0x9E3779B97F4A7C15)
    state = np.uint64(key) + (indices + np.uint64(1)) * golden  # modulo 2**64, as arrays of numpy are
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(31)
    return np.asarray((state >> np.uint64(11)) * 2.0**-53)


def _place_masks(uniform: npt.NDArray[np.float64], widest: int, length: int) -> npt.NDArray[np.int64]:
    """Make stripes of random numbers [shape=(n_clips, n_masks, 2)]: a width up to the widest, then a place."""
    widths = np.floor(uniform[..., 0] * (min(widest, length) + 1))
    starts = np.floor(uniform[..., 1] * (length - widths + 1))
    return np.stack([starts, starts + widths], axis=-1).astype(np.int64)
