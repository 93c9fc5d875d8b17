"""The 5-layer ConvNet (k2c2) as its papers draw it; the numbers come from `ConvNetConfig`."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from tagcli.models.config import ConvNetConfig

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "elu": nn.ELU}


class ModelOutput(NamedTuple):
    """What a network says of a batch of clips.

    Attributes
    ----------
    logits
        [shape=(n_clips, n_tags)], before the sigmoid.
    embeddings
        Of each block [shape=(n_clips, n_channels)]: the mean of its map where the configuration taps it.
    """

    logits: Tensor
    embeddings: list[Tensor]


class ConvBlock(nn.Module):
    """One box of the figure: 3x3 convolution, batch norm, activation, max pooling."""

    def __init__(self, n_inputs: int, n_outputs: int, pool: tuple[int, int], config: ConvNetConfig) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_inputs, n_outputs, kernel_size=3, padding=1)
        self.norm = nn.BatchNorm2d(n_outputs, eps=config.batch_norm_eps)
        self.activation = ACTIVATIONS[config.activation]()
        self.pool = nn.MaxPool2d(pool)

    def activate(self, maps: Tensor) -> Tensor:
        """Convolve, normalise and activate: the block before its pooling."""
        activated: Tensor = self.activation(self.norm(self.conv(maps)))
        return activated

    def forward(self, maps: Tensor) -> Tensor:
        """[shape=(n_clips, n_inputs, n_bands, n_frames)] to [shape=(n_clips, n_outputs, fewer, fewer)].

        The activation is monotone, so it commutes with the maximum, and sees a tenth of the values behind it.
        """
        pooled: Tensor = self.activation(self.pool(self.norm(self.conv(maps))))
        return pooled


class ConvNet(nn.Module):
    """The network.

    Choi et al. 2017 ("compact") and Choi et al. 2016, Won et al. 2020 ("fcn").

    Parameters
    ----------
    config
        Its numbers.
    """

    def __init__(self, config: ConvNetConfig) -> None:
        super().__init__()
        self.config = config
        n_inputs = (1, *config.channels[:-1])
        self.blocks = nn.ModuleList(
            ConvBlock(n_in, n_out, pool, config)
            for n_in, n_out, pool in zip(n_inputs, config.channels, config.pools, strict=True)
        )
        self.dense = nn.Linear(config.n_features, config.n_tags)

    def forward(self, log_mel: Tensor) -> Tensor:
        """Compute logits.

        Parameters
        ----------
        log_mel
            [shape=(n_clips, n_mels, n_frames)]

        Returns
        -------
        torch.Tensor
            Logits [shape=(n_clips, n_tags)].

        Raises
        ------
        ValueError
            When the map has not the size that the network was made for.
        """
        maps = to_input_map(log_mel, self.config)
        for block in self.blocks:
            maps = block(maps)
        logits: Tensor = self.dense(to_features(maps, self.config))
        return logits

    def embed(self, log_mel: Tensor) -> ModelOutput:
        """Compute logits and the embedding of every block.

        Parameters
        ----------
        log_mel
            [shape=(n_clips, n_mels, n_frames)]

        Raises
        ------
        ValueError
            When the map has not the size that the network was made for.
        """
        maps = to_input_map(log_mel, self.config)
        embeddings = []
        for block in self.blocks:
            assert isinstance(block, ConvBlock)
            activated = block.activate(maps)
            maps = block.pool(activated)
            tapped = maps if self.config.embedding_tap == "after_pooling" else activated
            embeddings.append(tapped.mean(dim=(2, 3)))
        return ModelOutput(self.dense(to_features(maps, self.config)), embeddings)


def to_input_map(log_mel: Tensor, config: ConvNetConfig) -> Tensor:
    """Check the size of a batch and give it a channel: [shape=(n_clips, 1, n_mels, n_frames)].

    Raises
    ------
    ValueError
        When the map has not the size that the network was made for. A network with global pooling takes more or
        fewer frames, as long as the poolings leave some.
    """
    n_mels, n_frames = config.n_mels, config.n_frames
    is_right = log_mel.ndim == 3 and log_mel.shape[1] == n_mels
    if config.head == "flatten":
        is_right = is_right and log_mel.shape[2] == n_frames
    if not is_right:
        msg = f"the network takes (n_clips, {n_mels}, {n_frames}), not {tuple(log_mel.shape)}"
        raise ValueError(msg)
    return log_mel.unsqueeze(1)


def to_features(maps: Tensor, config: ConvNetConfig) -> Tensor:
    """Make the dense layer's input [shape=(n_clips, n_features)] of the last map."""
    return maps.amax(dim=(2, 3)) if config.head == "global_max" else torch.flatten(maps.contiguous(), start_dim=1)
