"""The musicnn as its papers draw it; the numbers come from `MusicnnConfig`."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from tagcli.models.blocks import ModelOutput, NormedLayer, to_input_map
from tagcli.models.musicnn_config import MusicnnConfig


class Vertical(NormedLayer):
    """Filters of many bands and few frames hear timbre, wherever in pitch it is."""

    def __init__(self, n_bands: int, config: MusicnnConfig) -> None:
        size = (n_bands, config.vertical_frames)
        conv = nn.Conv2d(1, config.n_vertical, size, padding=(0, config.vertical_frames // 2))
        super().__init__(conv, nn.BatchNorm2d(config.n_vertical, eps=config.batch_norm_eps))

    def forward(self, maps: Tensor) -> Tensor:
        """[shape=(n_clips, 1, n_mels, n_frames)] to [shape=(n_clips, n_vertical, n_frames)]."""
        return torch.relu(super().forward(maps).amax(dim=2))


class Horizontal(NormedLayer):
    """Long filters over the level of each frame hear how it moves in time."""

    def __init__(self, n_frames: int, config: MusicnnConfig) -> None:
        conv = nn.Conv1d(1, config.n_horizontal, n_frames, padding=n_frames // 2)
        super().__init__(conv, nn.BatchNorm1d(config.n_horizontal, eps=config.batch_norm_eps))

    def forward(self, maps: Tensor) -> Tensor:
        """[shape=(n_clips, 1, n_mels, n_frames)] to [shape=(n_clips, n_horizontal, n_frames)]."""
        return torch.relu(super().forward(maps.mean(dim=2)))


class Branches(nn.ModuleList):
    """The first layer: all vertical and all horizontal filters, beside each other."""

    def __init__(self, config: MusicnnConfig) -> None:
        vertical = (Vertical(n_bands, config) for n_bands in config.vertical_bands)
        super().__init__([*vertical, *(Horizontal(n_frames, config) for n_frames in config.horizontal_frames)])

    def forward(self, maps: Tensor) -> Tensor:
        """[shape=(n_clips, 1, n_mels, n_frames)] to [shape=(n_clips, n_front, n_frames)]."""
        return torch.cat([branch(maps) for branch in self], dim=1)


class Musicnn(nn.Module):
    """The network.

    Pons et al., "End-to-end learning for music audio tagging at scale" (ISMIR 2018), figures 2 and 3, without the
    dropout; the layers of Won et al. 2020.

    Parameters
    ----------
    config
        Its numbers.
    """

    def __init__(self, config: MusicnnConfig) -> None:
        super().__init__()
        self.config = config
        n_channels = (config.n_front, *[config.n_middle] * config.n_middle_layers)
        self.blocks = nn.ModuleList([Branches(config)])
        for n_inputs, n_outputs in pairwise(n_channels):
            conv = nn.Conv1d(n_inputs, n_outputs, config.middle_frames, padding=config.middle_frames // 2)
            self.blocks.append(NormedLayer(conv, nn.BatchNorm1d(n_outputs, eps=config.batch_norm_eps)))
        hidden = nn.Linear(config.n_features, config.n_hidden)
        self.hidden = NormedLayer(hidden, nn.BatchNorm1d(config.n_hidden, eps=config.batch_norm_eps))
        self.dense = nn.Linear(config.n_hidden, config.n_tags)

    def forward(self, log_mel: Tensor) -> Tensor:
        """Compute logits.

        Parameters
        ----------
        log_mel
            [shape=(n_clips, n_mels, n_frames)], of any number of frames.

        Returns
        -------
        torch.Tensor
            Logits [shape=(n_clips, n_tags)].

        Raises
        ------
        ValueError
            When the map has another number of bands.
        """
        return self._judge(self._pool(self._hear(log_mel)))

    def embed(self, log_mel: Tensor) -> ModelOutput:
        """Compute logits and embeddings: the mean of every layer's map, then what the dense layers read.

        Takes and raises what `forward` does.
        """
        layers = self._hear(log_mel)
        pooled = self._pool(layers)
        return ModelOutput(self._judge(pooled), [*(maps.mean(dim=2) for maps in layers), pooled])

    def _hear(self, log_mel: Tensor) -> list[Tensor]:
        """Compute the map of every layer [shape=(n_clips, n_channels, n_frames)]; the third and later ones add up."""
        branches, first, *others = self.blocks
        front: Tensor = branches(to_input_map(log_mel, n_mels=self.config.n_mels, n_frames=None))
        maps = torch.relu(first(front))
        layers = [front, maps]
        for layer in others:
            maps = maps + torch.relu(layer(maps))
            layers.append(maps)
        return layers

    def _pool(self, layers: list[Tensor]) -> Tensor:
        """Take maximum and mean over time of all layers [shape=(n_clips, n_features)]."""
        maps = torch.cat(layers, dim=1)
        return torch.cat([maps.amax(dim=2), maps.mean(dim=2)], dim=1)

    def _judge(self, pooled: Tensor) -> Tensor:
        """Compute logits of what was heard."""
        logits: Tensor = self.dense(torch.relu(self.hidden(pooled)))
        return logits
