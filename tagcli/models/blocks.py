"""The boxes that figures share: 3x3 convolution, batch norm, activation, max pooling; and what networks say."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn

from tagcli.models.config import BlocksFigure, EmbeddingTap
from tagcli.models.patches import can_be_convolved, convolve_normalised

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "elu": nn.ELU}


class ModelOutput(NamedTuple):
    """What a network says of a batch of clips.

    Attributes
    ----------
    logits
        [shape=(n_clips, n_tags)], before the sigmoid.
    embeddings
        Of each layer, from the input on [shape=(n_clips, n_channels)]: the mean of a block's map, the last state of a
        recurrent network.
    """

    logits: Tensor
    embeddings: list[Tensor]


class BlockOutput(NamedTuple):
    """What a block makes of a batch.

    Attributes
    ----------
    maps
        [shape=(n_clips, n_channels, n_bands, n_frames)]
    embedding
        [shape=(n_clips, n_channels)]
    """

    maps: Tensor
    embedding: Tensor


class Block(nn.Module, ABC):
    """One box of a figure, in one of its forms."""

    @abstractmethod
    def forward(self, maps: Tensor) -> Tensor:
        """[shape=(n_clips, n_inputs, n_bands, n_frames)] to [shape=(n_clips, n_outputs, fewer, fewer)]."""

    @abstractmethod
    def embed(self, maps: Tensor, tap: EmbeddingTap) -> BlockOutput:
        """Compute the maps that `forward` gives, and their mean where they are tapped."""


class ConvBlock(Block):
    """The box as it is drawn: 3x3 convolution, batch norm, activation, max pooling."""

    def __init__(self, n_inputs: int, n_outputs: int, pool: tuple[int, int], config: BlocksFigure) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_inputs, n_outputs, kernel_size=3, padding=1)
        self.norm = _make_norm(n_outputs, config)
        self.activation = ACTIVATIONS[config.activation]()
        self.pool = nn.MaxPool2d(pool)

    def forward(self, maps: Tensor) -> Tensor:
        """Pool first: the activation is monotone, so it commutes with the maximum, and sees a tenth of the values."""
        pooled: Tensor = self.activation(self.pool(self._convolve(maps)))
        return pooled

    def _convolve(self, maps: Tensor) -> Tensor:
        """Convolve and normalise; on a CPU the statistics of the first block come from its input."""
        norm = self.norm
        if isinstance(norm, nn.BatchNorm2d) and can_be_convolved(self.conv, norm, maps):
            return convolve_normalised(self.conv, norm, maps)
        normed: Tensor = norm(self.conv(maps))
        return normed

    def embed(self, maps: Tensor, tap: EmbeddingTap) -> BlockOutput:
        """Compute what `Block.embed` says."""
        activated = self.activation(self.norm(self.conv(maps)))
        pooled = self.pool(activated)
        return BlockOutput(pooled, (pooled if tap == "after_pooling" else activated).mean(dim=(2, 3)))


def _make_norm(n_maps: int, config: BlocksFigure) -> nn.BatchNorm2d | nn.InstanceNorm2d:
    """Make a batch norm; one that takes the statistics of each clip is otherwise known as an instance norm."""
    if config.batch_norm_statistics == "clip":
        return nn.InstanceNorm2d(n_maps, eps=config.batch_norm_eps, affine=True)
    return nn.BatchNorm2d(n_maps, eps=config.batch_norm_eps)


class BlockStack(nn.Sequential):
    """Blocks, one behind the other.

    Parameters
    ----------
    *blocks
        From the input on, all in one form.
    """

    def __init__(self, *blocks: Block) -> None:
        super().__init__(*blocks)

    @classmethod
    def of_figure(cls, config: BlocksFigure) -> "BlockStack":
        """Make the blocks of a figure, untrained."""
        n_inputs = (1, *config.channels[:-1])
        return cls(
            *(
                ConvBlock(n_in, n_out, pool, config)
                for n_in, n_out, pool in zip(n_inputs, config.channels, config.pools, strict=True)
            )
        )

    def embed(self, maps: Tensor, tap: EmbeddingTap) -> tuple[Tensor, list[Tensor]]:
        """Compute the maps that `forward` gives, and the embedding of every block."""
        embeddings = []
        for block in self:
            assert isinstance(block, Block)
            maps, embedding = block.embed(maps, tap)
            embeddings.append(embedding)
        return maps, embeddings


class NormedLayer(nn.Module):
    """A layer of weights and its batch norm, which is folded into it for scoring.

    Parameters
    ----------
    layer
        A convolution or a dense layer.
    norm
        Of its outputs.
    """

    def __init__(self, layer: nn.Conv1d | nn.Conv2d | nn.Linear, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
        super().__init__()
        self.layer = layer
        self.norm: nn.Module = norm

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute what the layer says, normalised."""
        outputs: Tensor = self.norm(self.layer(inputs))
        return outputs


def to_input_map(log_mel: Tensor, *, n_mels: int, n_frames: int | None) -> Tensor:
    """Check the size of a batch and give it a channel: [shape=(n_clips, 1, n_mels, n_frames)].

    Parameters
    ----------
    log_mel
        [shape=(n_clips, n_mels, n_frames)]
    n_mels, n_frames
        What the network was made for; None for any number of frames.

    Raises
    ------
    ValueError
        When the batch is of another size.
    """
    is_right = log_mel.ndim == 3 and log_mel.shape[1] == n_mels and n_frames in (None, log_mel.shape[2])
    if not is_right:
        msg = f"the network takes (n_clips, {n_mels}, {n_frames or 'n_frames'}), not {tuple(log_mel.shape)}"
        raise ValueError(msg)
    return log_mel.unsqueeze(1)
