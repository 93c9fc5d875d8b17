"""Front end and network as one module: clips in, scores out, moved to a device as a whole."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tagcli.checkpoint import CheckpointHeader, load_tensors, read_header
from tagcli.errors import CheckpointError
from tagcli.features.log_mel import LogMel
from tagcli.models.forms import Model, build_model, to_inference_form


class ModuleOutput(NamedTuple):
    """What the model says of a batch of clips, on its device.

    Attributes
    ----------
    scores
        [shape=(n_clips, n_tags)], sigmoid outputs in [0, 1].
    embeddings
        Of each layer [shape=(n_clips, n_channels)], or none when they were not asked for.
    """

    scores: Tensor
    embeddings: list[Tensor]


class TaggerModule(nn.Module):
    """Waveform to scores, in its inference form.

    Parameters
    ----------
    header
        Configuration of front end, network and clips.
    front_end, model
        As trained; the network is converted.
    """

    def __init__(self, header: CheckpointHeader, front_end: LogMel, model: Model) -> None:
        super().__init__()
        self.header = header
        self.front_end = front_end
        self.model = to_inference_form(model)
        self.requires_grad_(False)
        self.eval()

    @classmethod
    def from_checkpoint(cls, path: Path) -> "TaggerModule":
        """Build the module that a checkpoint describes.

        Raises
        ------
        CheckpointError
            When the file is damaged, or its tensors do not fit its configuration.
        """
        header = read_header(path)
        front_end, model = LogMel(header.front_end), build_model(header.architecture)
        trained = nn.ModuleDict({"front_end": front_end, "model": model})
        try:
            trained.load_state_dict(load_tensors(path), strict=True)
        except RuntimeError as error:
            msg = f"The tensors of {path} do not fit its configuration ({error}); fetch the checkpoint again."
            raise CheckpointError(msg, path=path) from error
        trained.eval()
        return cls(header, front_end, model)

    def forward(self, waveform: Tensor) -> Tensor:
        """Compute scores.

        Parameters
        ----------
        waveform
            [shape=(n_clips, clip_samples)], float32, about [-1, 1].

        Returns
        -------
        torch.Tensor
            [shape=(n_clips, n_tags)], in [0, 1].
        """
        return torch.sigmoid(self.model(self._hear(waveform)).float())

    def score(self, waveform: Tensor, *, with_embeddings: bool) -> ModuleOutput:
        """Compute scores, and the embeddings of every layer when they are wanted; no gradients are kept.

        Parameters
        ----------
        waveform
            [shape=(n_clips, clip_samples)], float32, about [-1, 1].
        with_embeddings
            Whether to compute them.
        """
        with torch.inference_mode():
            if not with_embeddings:
                return ModuleOutput(self(waveform), [])
            output = self.model.embed(self._hear(waveform))
            return ModuleOutput(torch.sigmoid(output.logits.float()), output.embeddings)

    def halve(self, dtype: torch.dtype) -> "TaggerModule":
        """Run the network in half precision from now on; the front end stays as it is."""
        self.model.to(dtype)
        return self

    def _hear(self, waveform: Tensor) -> Tensor:
        """Compute the network's input, in its precision."""
        log_mel: Tensor = self.front_end(waveform)
        return log_mel.to(self.model.dense.weight.dtype)
