"""The numbers of a musicnn, which shares no box with the other figures."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class MusicnnConfig:
    """Filters as tall as timbres and as long as rhythms, three layers over them, and pooling over the whole clip.

    Parameters
    ----------
    architecture
        Which kind this is.
    n_mels, n_frames
        Size of the input map that the network was made for; it takes any number of frames.
    vertical_bands, vertical_frames, n_vertical
        Heights of the vertical filters, their length, and how many there are of each height.
    horizontal_frames, n_horizontal
        Lengths of the horizontal filters, which hear the mean of all bands, and how many there are of each length.
    n_middle_layers, middle_frames, n_middle
        Layers that follow, the length of their filters, and their number.
    n_hidden
        Units of the dense layer before the last.
    n_tags, batch_norm_eps
        Number of output units, and the constant added to the variances.

    Raises
    ------
    ValueError
        When there is nothing of something, a filter is taller than the map, or has no middle frame.
    """

    architecture: Literal["musicnn"]
    n_mels: int
    n_frames: int
    vertical_bands: tuple[int, ...]
    vertical_frames: int
    n_vertical: int
    horizontal_frames: tuple[int, ...]
    n_horizontal: int
    n_middle_layers: int
    middle_frames: int
    n_middle: int
    n_hidden: int
    n_tags: int
    batch_norm_eps: float

    def __post_init__(self) -> None:
        lengths = (self.vertical_frames, *self.horizontal_frames, self.middle_frames)
        counts = (self.n_vertical, self.n_horizontal, self.n_middle_layers, self.n_middle, self.n_hidden, self.n_frames)
        if not (self.vertical_bands and self.horizontal_frames) or min(*counts, *lengths, *self.vertical_bands) < 1:
            msg = "there are vertical and horizontal filters, and all numbers of a musicnn begin at 1"
            raise ValueError(msg)
        if max(self.vertical_bands) > self.n_mels:
            msg = f"a filter of {max(self.vertical_bands)} bands is taller than a map of {self.n_mels}"
            raise ValueError(msg)
        if not all(length % 2 for length in lengths):
            msg = f"filters are odd numbers of frames long, not {lengths}"
            raise ValueError(msg)

    @property
    def output_size(self) -> tuple[int, int]:
        """Bands and frames that are left before the pooling over the whole clip."""
        return 1, self.n_frames

    @property
    def n_front(self) -> int:
        """Number of channels of all vertical and horizontal filters."""
        return len(self.vertical_bands) * self.n_vertical + len(self.horizontal_frames) * self.n_horizontal

    @property
    def n_features(self) -> int:
        """Number of inputs of the hidden layer: maximum and mean of the channels of every layer."""
        return 2 * (self.n_front + self.n_middle_layers * self.n_middle)


def musicnn_config(*, n_tags: int = 50) -> MusicnnConfig:
    """Describe the musicnn: vertical filters of 67 and 38 bands, horizontal ones of 129, 65 and 33 frames.

    Pons et al., "End-to-end learning for music audio tagging at scale" (ISMIR 2018), section 3.2, in the form of
    Won et al., "Evaluation of CNN-based automatic music tagging models" (2020), section 3: 3.0 s at 16 kHz.
    """
    return MusicnnConfig(
        architecture="musicnn",
        n_mels=96,
        n_frames=188,
        vertical_bands=(67, 38),
        vertical_frames=7,
        n_vertical=204,
        horizontal_frames=(129, 65, 33),
        n_horizontal=51,
        n_middle_layers=3,
        middle_frames=7,
        n_middle=64,
        n_hidden=200,
        n_tags=n_tags,
        batch_norm_eps=1e-5,
    )
