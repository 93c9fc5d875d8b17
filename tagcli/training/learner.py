"""Front end and network as they learn: waveforms in, logits and loss out."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tagcli.checkpoint import CheckpointHeader
from tagcli.features.config import FrontEndConfig
from tagcli.features.log_mel import LogMel, compute_mel_filter_bank
from tagcli.models.choi2016 import KerasGru
from tagcli.models.config import ModelConfig
from tagcli.models.forms import build_model
from tagcli.tagger.module import TaggerModule
from tagcli.training.recipe import TransferRecipe


@dataclass(frozen=True, kw_only=True)
class LearningBatch:
    """A batch on the device.

    Parameters
    ----------
    waveforms
        [shape=(n_clips, clip_samples)], float32.
    wanted
        [shape=(n_clips, n_tags)]: labels in [0, 1], mixed where examples are; or the logits of teachers.
    known
        Which cells count [shape=(n_clips, n_tags)], 0 or 1.
    n_known
        How many cells count in the batch that this is a part of.
    gains
        [shape=(n_clips,)]; see `tagcli.training.augmentation.Variation`.
    mix_shares
        [shape=(n_clips,)]; None where nothing is mixed.
    band_masks, frame_masks
        [shape=(n_clips, n_masks, 2)]
    """

    waveforms: Tensor
    wanted: Tensor
    known: Tensor
    n_known: int
    gains: Tensor
    mix_shares: Tensor | None
    band_masks: Tensor
    frame_masks: Tensor


class Learner(nn.Module):
    """A tagger that learns.

    Parameters
    ----------
    front_end, model
        What is trained.
    transfer
        What is frozen, and what becomes of running statistics.

    Raises
    ------
    ValueError
        When more blocks are to be frozen than there are.
    """

    def __init__(self, front_end: FrontEndConfig, model: ModelConfig, transfer: TransferRecipe) -> None:
        super().__init__()
        self.front_end = LogMel(front_end)
        self.model = build_model(model)
        self._transfer = transfer
        if transfer.n_frozen_blocks > len(self.model.blocks):
            msg = f"{transfer.n_frozen_blocks} blocks cannot be frozen, there are {len(self.model.blocks)}"
            raise ValueError(msg)
        for block in self._frozen_parts():
            block.requires_grad_(False)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch has no such overload

    def initialise(self, seed: int) -> None:
        """Draw fresh weights; all biases are zero.

        Convolutions and the head: He et al., "Delving deep into rectifiers" (2015), equation 10. Recurrent layers:
        from below Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks"
        (2010), equation 16; from step to step orthogonal, Saxe et al., "Exact solutions to the nonlinear dynamics of
        learning in deep linear neural networks" (2014), section 3.
        """
        if self.front_end.config.filter_bank == "stored":
            self.front_end.mel_filter_bank.copy_(compute_mel_filter_bank(self.front_end.config))
        generator = torch.Generator().manual_seed(seed)
        for layer in self.model.modules():
            if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
            elif isinstance(layer, nn.GRU | KerasGru):
                for name, weight in layer.named_parameters():
                    if name.startswith("weight_ih"):
                        nn.init.xavier_uniform_(weight, generator=generator)
                    elif name.startswith("weight_hh"):
                        nn.init.orthogonal_(weight, generator=generator)
                    else:
                        nn.init.zeros_(weight)

    def say_always(self, logits: Tensor) -> None:
        """Have the head say the same of everything [shape=(n_tags,)], until it learns."""
        with torch.no_grad():
            self.model.dense.weight.zero_()
            self.model.dense.bias.copy_(logits)

    def train(self, mode: bool = True) -> "Learner":
        """Learn, or stop learning; frozen parts, and batch norms that are to be kept, do not follow."""
        super().train(mode)
        for part in self._frozen_parts():
            part.eval()
        if self._transfer.batch_norm == "keep":
            for layer in self.modules():
                if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                    layer.eval()
        return self

    def forward(self, batch: LearningBatch) -> Tensor:
        """Compute logits [shape=(n_clips, n_tags)]."""
        waveforms = batch.waveforms * batch.gains[:, None]
        if batch.mix_shares is not None:
            waveforms = mix(waveforms, batch.mix_shares[:, None])
        log_mel = self.front_end(waveforms)
        log_mel = mask_stripes(log_mel, band_masks=batch.band_masks, frame_masks=batch.frame_masks)
        logits: Tensor = self.model(log_mel)
        return logits

    def to_tagger(self, header: CheckpointHeader) -> TaggerModule:
        """Make the form that scores; it has tensors of its own."""
        front_end, model = LogMel(header.front_end), build_model(header.architecture)
        front_end.load_state_dict(self.front_end.state_dict())
        model.load_state_dict(self.model.state_dict())
        model.eval()
        return TaggerModule(header, front_end, model).to(next(self.parameters()).device)

    def tensors(self) -> Mapping[str, Tensor]:
        """Give what a checkpoint keeps, on the CPU."""
        return {name: tensor.detach().cpu() for name, tensor in self.state_dict().items()}

    def _frozen_parts(self) -> list[nn.Module]:
        """List what is not to change: the first blocks, and the front end when there are any."""
        blocks: list[nn.Module] = list(self.model.blocks)[: self._transfer.n_frozen_blocks]
        return [self.front_end, *blocks] if blocks else []


def mask_stripes(log_mel: Tensor, *, band_masks: Tensor, frame_masks: Tensor) -> Tensor:
    """Set stripes of maps [shape=(n_clips, n_bands, n_frames)] to the mean of each map."""
    if not band_masks.numel() and not frame_masks.numel():
        return log_mel
    n_bands, n_frames = log_mel.shape[1:]
    hidden = _cover(band_masks, n_bands)[:, :, None] | _cover(frame_masks, n_frames)[:, None, :]
    return torch.where(hidden, log_mel.mean(dim=(1, 2), keepdim=True), log_mel)


def _cover(masks: Tensor, length: int) -> Tensor:
    """Tell which of `length` places are in a stripe [shape=(n_clips, length)]."""
    places = torch.arange(length, device=masks.device)
    return ((places >= masks[..., :1]) & (places < masks[..., 1:])).any(dim=1)


def mix(values: Tensor, shares: Tensor) -> Tensor:
    """Mix each row with its partner: the first with the last, and so on."""
    return shares * values + (1 - shares) * values.flip(0)
