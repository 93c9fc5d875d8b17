"""The CRNN as its papers draw it; the numbers come from `CrnnConfig`."""

import torch
from torch import Tensor, nn

from tagcli.models.blocks import BlockStack, ModelOutput, to_input_map
from tagcli.models.config import CrnnConfig


class Crnn(nn.Module):
    """Blocks of convolution that leave a sequence, and gated recurrent units that read it.

    Choi et al., "Convolutional recurrent neural networks for music classification" (2017), figure 1c, with the units
    of Won et al. 2020, which are PyTorch's: Cho et al., "Learning phrase representations using RNN encoder-decoder"
    (2014), section 2.3, with the reset gate behind the matrix product.

    Parameters
    ----------
    config
        Its numbers.
    """

    def __init__(self, config: CrnnConfig) -> None:
        super().__init__()
        self.config = config
        self.blocks = BlockStack.of_figure(config)
        self.gru = nn.GRU(config.n_features, config.n_gru_units, num_layers=config.n_gru_layers, batch_first=True)
        self.dense = nn.Linear(config.n_gru_units, config.n_tags)

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
        logits: Tensor = self.dense(self._read(self.blocks(self._to_input_map(log_mel))))
        return logits

    def embed(self, log_mel: Tensor) -> ModelOutput:
        """Compute logits and the embeddings of every block and of the recurrent layers: their last state.

        Takes and raises what `forward` does.
        """
        maps, embeddings = self.blocks.embed(self._to_input_map(log_mel), "after_pooling")
        state = self._read(maps)
        return ModelOutput(self.dense(state), [*embeddings, state])

    def _to_input_map(self, log_mel: Tensor) -> Tensor:
        return to_input_map(log_mel, n_mels=self.config.n_mels, n_frames=self.config.n_frames)

    def _read(self, maps: Tensor) -> Tensor:
        """Read the last map from its first frame to its last; gives the last state [shape=(n_clips, n_gru_units)].

        In the precision of its weights even where the convolutions are run in a lower one: it costs next to nothing,
        rounding adds up from step to step, and cuDNN has it in bfloat16 only since 9.13 (PyTorch pull request 164411).
        """
        steps = maps.flatten(1, 2).transpose(1, 2).to(self.dense.weight.dtype)
        with torch.autocast(maps.device.type, enabled=False):
            states, _ = self.gru(steps)
        last: Tensor = states[:, -1]
        return last
