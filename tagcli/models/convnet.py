"""The 5-layer ConvNet (k2c2) as its papers draw it; the numbers come from `ConvNetConfig`."""

import torch
from torch import Tensor, nn

from tagcli.models.blocks import BlockStack, ModelOutput, to_input_map
from tagcli.models.config import ConvNetConfig


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
        self.blocks = BlockStack.of_figure(config)
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
            When the map has not the size that the network was made for. A network with global pooling takes more or
            fewer frames, as long as the poolings leave some.
        """
        logits: Tensor = self.dense(self._pool(self.blocks(self._to_input_map(log_mel))))
        return logits

    def embed(self, log_mel: Tensor) -> ModelOutput:
        """Compute logits and the embedding of every block; takes and raises what `forward` does."""
        maps, embeddings = self.blocks.embed(self._to_input_map(log_mel), self.config.embedding_tap)
        return ModelOutput(self.dense(self._pool(maps)), embeddings)

    def _to_input_map(self, log_mel: Tensor) -> Tensor:
        config = self.config
        n_frames = config.n_frames if config.head == "flatten" else None
        return to_input_map(log_mel, n_mels=config.n_mels, n_frames=n_frames)

    def _pool(self, maps: Tensor) -> Tensor:
        """Make the dense layer's input [shape=(n_clips, n_features)] of the last map."""
        if self.config.head == "global_max":
            return maps.amax(dim=(2, 3))
        return torch.flatten(maps.contiguous(), start_dim=1)
