"""The MusicTaggerCRNN as its authors released it; the numbers come from `Choi2016Config`."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from tagcli.models.blocks import BlockStack, ModelOutput, to_input_map
from tagcli.models.config import Choi2016Config


class KerasGru(nn.Module):
    """Gated recurrent units as Keras 1 has them: reset before the matrix product, and gates of straight lines.

    Cho et al., "Learning phrase representations using RNN encoder-decoder" (2014), equations 5 to 8. `torch.nn.GRU`
    resets behind the product. Weights are named as there, with the gates in its order: reset, update, candidate.

    Parameters
    ----------
    n_inputs, n_units, n_layers
        Numbers at each step, the size of each layer's state, and layers.
    """

    def __init__(self, n_inputs: int, n_units: int, n_layers: int) -> None:
        super().__init__()
        self.n_layers = n_layers
        for layer in range(n_layers):
            n_below = n_units if layer else n_inputs
            self.register_parameter(f"weight_ih_l{layer}", nn.Parameter(torch.zeros(3 * n_units, n_below)))
            self.register_parameter(f"weight_hh_l{layer}", nn.Parameter(torch.zeros(3 * n_units, n_units)))
            self.register_parameter(f"bias_l{layer}", nn.Parameter(torch.zeros(3 * n_units)))

    def forward(self, steps: Tensor) -> Tensor:
        """[shape=(n_clips, n_steps, n_inputs)] to the last layer's states [shape=(n_clips, n_steps, n_units)]."""
        for layer in range(self.n_layers):
            of_input = functional.linear(
                steps, self.get_parameter(f"weight_ih_l{layer}"), self.get_parameter(f"bias_l{layer}")
            )
            steps = _read(of_input, self.get_parameter(f"weight_hh_l{layer}"))
        return steps


class Choi2016Crnn(nn.Module):
    """Blocks of convolution over a padded map that is normalised frame by frame, and Keras' recurrent units.

    Choi et al., "Convolutional recurrent neural networks for music classification" (2016), figure 1c, in the form of
    the released MusicTaggerCRNN, without the dropout.

    Parameters
    ----------
    config
        Its numbers.
    """

    def __init__(self, config: Choi2016Config) -> None:
        super().__init__()
        self.config = config
        self.input_norm = nn.BatchNorm1d(config.n_block_frames, eps=config.batch_norm_eps)
        self.blocks = BlockStack.of_figure(config)
        self.gru = KerasGru(config.n_features, config.n_gru_units, config.n_gru_layers)
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
        """Pad the map with 0 dB and normalise its frames [shape=(n_clips, 1, n_mels, n_block_frames)]."""
        maps = to_input_map(log_mel, n_mels=self.config.n_mels, n_frames=self.config.n_frames)
        padded = functional.pad(maps.squeeze(1), (self.config.n_padded_frames,) * 2)
        normalised: Tensor = self.input_norm(padded.transpose(1, 2))
        return normalised.transpose(1, 2).unsqueeze(1)

    def _read(self, maps: Tensor) -> Tensor:
        """Read the last map from its first frame to its last; gives the last state [shape=(n_clips, n_gru_units)].

        In the precision of its weights, as `tagcli.models.crnn.Crnn` does.
        """
        steps = maps.flatten(1, 2).transpose(1, 2).to(self.dense.weight.dtype)
        with torch.autocast(maps.device.type, enabled=False):
            states: Tensor = self.gru(steps)
        return states[:, -1]


def _read(of_input: Tensor, weight: Tensor) -> Tensor:
    """Read what one layer makes of its input [shape=(n_clips, n_steps, 3 * n_units)], step by step."""
    n_units = weight.shape[1]
    of_gates, of_candidate = weight[: 2 * n_units].T, weight[2 * n_units :].T
    state, states = of_input.new_zeros(len(of_input), n_units), []
    for step in of_input.unbind(dim=1):
        gates = (0.2 * (step[:, : 2 * n_units] + state @ of_gates) + 0.5).clamp(0, 1)
        reset, update = gates.chunk(2, dim=1)
        candidate = torch.tanh(step[:, 2 * n_units :] + (reset * state) @ of_candidate)
        state = update * state + (1 - update) * candidate
        states.append(state)
    return torch.stack(states, dim=1)
