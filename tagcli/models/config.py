"""The networks' numbers: one dataclass for each kind, and the published figures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from tagcli.models.musicnn_config import MusicnnConfig, musicnn_config

Activation = Literal["relu", "elu"]
Head = Literal["flatten", "global_max"]
EmbeddingTap = Literal["after_pooling", "after_activation"]
BatchNormStatistics = Literal["running", "clip"]


class BlocksFigure:
    """What all kinds say of their blocks: 3x3 convolution, batch norm, activation and max pooling."""

    n_mels: int
    n_frames: int
    channels: tuple[int, ...]
    pools: tuple[tuple[int, int], ...]
    activation: Activation
    batch_norm_eps: float
    batch_norm_statistics: BatchNormStatistics = "running"

    def __post_init__(self) -> None:
        if len(self.channels) != len(self.pools):
            msg = f"{len(self.channels)} blocks of maps but {len(self.pools)} poolings"
            raise ValueError(msg)
        if 0 in self.output_size:
            msg = f"an input of {self.n_mels} x {self.n_frames} vanishes in the poolings {self.pools}"
            raise ValueError(msg)

    @property
    def n_block_frames(self) -> int:
        """Frames of the map that the first block reads."""
        return self.n_frames

    @property
    def output_size(self) -> tuple[int, int]:
        """Bands and frames that are left after the last pooling."""
        n_mels, n_frames = self.n_mels, self.n_block_frames
        for pool_bands, pool_frames in self.pools:
            n_mels, n_frames = n_mels // pool_bands, n_frames // pool_frames
        return n_mels, n_frames


class RecurrentFigure(BlocksFigure):
    """What those kinds say that read the blocks' last map with gated recurrent units."""

    n_gru_layers: int
    n_gru_units: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.n_gru_layers, self.n_gru_units) < 1:
            msg = f"n_gru_layers and n_gru_units begin at 1, not at {self.n_gru_layers} and {self.n_gru_units}"
            raise ValueError(msg)

    @property
    def n_features(self) -> int:
        """Number of inputs of the first recurrent layer at each step: all bands of all maps."""
        return self.channels[-1] * self.output_size[0]


@dataclass(frozen=True, kw_only=True)
class ConvNetConfig(BlocksFigure):
    """A k2c2 network: blocks of 3x3 convolution, batch norm, activation and max pooling, then one dense layer.

    Parameters
    ----------
    architecture
        Name of the figure, for people: ``compact`` or ``fcn``.
    n_mels, n_frames
        Size of the input map that the network was made for.
    channels
        Number of maps of each block.
    pools
        Pooling of each block as (bands, frames); the stride is the same, rests are dropped.
    activation
        ``relu`` or ``elu``; monotone, so that pooling may come first at inference.
    head
        ``flatten`` the last map, or take its ``global_max``.
    n_tags
        Number of output units.
    batch_norm_eps
        Constant added to the variances.
    embedding_tap
        Where the authors took a block's embedding: the mean of its map ``after_pooling`` or ``after_activation``
        (before pooling).
    batch_norm_statistics
        What the batch norms take mean and variance from: ``running`` ones, gathered in training and stored, or those of
        the ``clip`` itself, over its bands and frames.

    Raises
    ------
    ValueError
        When channels and pools differ in number, or the input vanishes in a pooling.
    """

    architecture: str
    n_mels: int
    n_frames: int
    channels: tuple[int, ...]
    pools: tuple[tuple[int, int], ...]
    activation: Activation
    head: Head
    n_tags: int
    batch_norm_eps: float
    embedding_tap: EmbeddingTap
    # not shown: runs are known by how Python shows their recipe, and learning always takes the default
    batch_norm_statistics: BatchNormStatistics = field(default="running", repr=False)

    @property
    def n_features(self) -> int:
        """Number of inputs of the dense layer."""
        n_mels, n_frames = self.output_size
        return self.channels[-1] * (n_mels * n_frames if self.head == "flatten" else 1)


@dataclass(frozen=True, kw_only=True)
class CrnnConfig(RecurrentFigure):
    """A recurrent network over the maps of such blocks: gated recurrent units, whose last state goes to a dense layer.

    Parameters
    ----------
    architecture
        Which kind this is.
    n_mels, n_frames, channels, pools, activation
        As `ConvNetConfig` says.
    n_gru_layers, n_gru_units
        Recurrent layers, one upon the other, and the size of each one's state.
    n_tags, batch_norm_eps
        As `ConvNetConfig` says.

    Raises
    ------
    ValueError
        When channels and pools differ in number, the input vanishes in a pooling, or there is no recurrent unit.
    """

    architecture: Literal["crnn"]
    n_mels: int
    n_frames: int
    channels: tuple[int, ...]
    pools: tuple[tuple[int, int], ...]
    activation: Activation
    n_gru_layers: int
    n_gru_units: int
    n_tags: int
    batch_norm_eps: float


@dataclass(frozen=True, kw_only=True)
class Choi2016Config(RecurrentFigure):
    """The CRNN as its authors published it: a padded map, a batch norm of its frames, Keras' recurrent units.

    Parameters
    ----------
    architecture
        Which kind this is.
    n_mels, n_frames, channels, pools, activation
        As `ConvNetConfig` says.
    n_padded_frames
        Frames of 0 dB that are put at both ends of the map.
    n_gru_layers, n_gru_units
        As `CrnnConfig` says.
    n_tags, batch_norm_eps
        As `ConvNetConfig` says.

    Raises
    ------
    ValueError
        As `CrnnConfig` says, and when the padding is less than nothing.
    """

    architecture: Literal["choi2016-crnn"]
    n_mels: int
    n_frames: int
    n_padded_frames: int
    channels: tuple[int, ...]
    pools: tuple[tuple[int, int], ...]
    activation: Activation
    n_gru_layers: int
    n_gru_units: int
    n_tags: int
    batch_norm_eps: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_padded_frames < 0:
            msg = f"n_padded_frames is not negative, as {self.n_padded_frames} is"
            raise ValueError(msg)

    @property
    def n_block_frames(self) -> int:
        """Frames of the padded map."""
        return self.n_frames + 2 * self.n_padded_frames


ModelConfig = CrnnConfig | Choi2016Config | MusicnnConfig | ConvNetConfig
"""Every kind; `architecture` says which one a configuration is of, and whatever has no kind of its own is a ConvNet."""


def compact_config(
    *,
    n_tags: int = 50,
    head: Head = "flatten",
    embedding_tap: EmbeddingTap = "after_pooling",
    batch_norm_statistics: BatchNormStatistics = "running",
) -> ConvNetConfig:
    """Describe the compact k2c2 network of 5 x 32 maps.

    Choi et al., "The effects of noisy labels on deep convolutional neural networks for music tagging" (2017), with
    the poolings of the released code (the paper's Table II prints (4,4)(4,5) for blocks 2 and 3, which cannot be).
    """
    return ConvNetConfig(
        architecture="compact",
        n_mels=96,
        n_frames=1360,
        channels=(32, 32, 32, 32, 32),
        pools=((2, 4), (3, 4), (2, 5), (2, 4), (4, 4)),
        activation="elu",
        head=head,
        n_tags=n_tags,
        batch_norm_eps=1e-3,
        embedding_tap=embedding_tap,
        batch_norm_statistics=batch_norm_statistics,
    )


def fcn_config(*, n_tags: int = 50) -> ConvNetConfig:
    """Describe the 5-layer FCN of 64-128-128-128-64 maps.

    Choi et al., "Automatic tagging using deep convolutional neural networks" (ISMIR 2016), in the form of
    Won et al., "Evaluation of CNN-based automatic music tagging models" (2020), section 3: 29.0 s at 16 kHz.
    """
    return ConvNetConfig(
        architecture="fcn",
        n_mels=96,
        n_frames=1813,
        channels=(64, 128, 128, 128, 64),
        pools=((2, 4), (2, 4), (2, 4), (3, 5), (4, 4)),
        activation="relu",
        head="flatten",
        n_tags=n_tags,
        batch_norm_eps=1e-5,
        embedding_tap="after_pooling",
    )


def crnn_config(*, n_tags: int = 50) -> CrnnConfig:
    """Describe the CRNN: four blocks of 64-128-128-128 maps, then two layers of 32 gated recurrent units.

    Choi et al., "Convolutional recurrent neural networks for music classification" (ICASSP 2017), in the form of
    Won et al., "Evaluation of CNN-based automatic music tagging models" (2020), section 3: 29.0 s at 16 kHz.
    """
    return CrnnConfig(
        architecture="crnn",
        n_mels=96,
        n_frames=1813,
        channels=(64, 128, 128, 128),
        pools=((2, 2), (3, 3), (4, 4), (4, 4)),
        activation="relu",
        n_gru_layers=2,
        n_gru_units=32,
        n_tags=n_tags,
        batch_norm_eps=1e-5,
    )


def choi2016_config(*, n_tags: int = 50) -> Choi2016Config:
    """Describe the MusicTaggerCRNN: the CRNN of the authors' released code, 29.12 s at 12 kHz.

    Choi et al., "Convolutional recurrent neural networks for music classification" (2016, arXiv 1609.04243). The norm
    of its input is called after the frequency axis, but runs over time: its tensors have 1440 values.
    """
    return Choi2016Config(
        architecture="choi2016-crnn",
        n_mels=96,
        n_frames=1366,
        n_padded_frames=37,
        channels=(64, 128, 128, 128),
        pools=((2, 2), (3, 3), (4, 4), (4, 4)),
        activation="elu",
        n_gru_layers=2,
        n_gru_units=32,
        n_tags=n_tags,
        batch_norm_eps=1e-5,
    )


ARCHITECTURES: Mapping[str, Callable[[], ModelConfig]] = MappingProxyType(
    {
        "compact": compact_config,
        "fcn": fcn_config,
        "crnn": crnn_config,
        "musicnn": musicnn_config,
        "choi2016-crnn": choi2016_config,
    }
)
"""The figures by their names, each with the numbers of its paper."""
