"""The log-mel front end as a module: STFT, mel, decibels, normalisation, always in float32."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from tagcli.features.config import FrontEndConfig

_SILENT_DEVIATION = 1e-7  # keeps the standardisation of a constant clip finite (Keras' epsilon)


class LogMel(nn.Module):
    """Turn waveforms into log-mel maps.

    Parameters
    ----------
    config
        Every number that it takes.

    Attributes
    ----------
    mel_filter_bank
        [shape=(n_mels, 1 + n_fft // 2)]; part of the state dict only when the configuration says ``stored``.
    """

    window: Tensor
    mel_filter_bank: Tensor

    def __init__(self, config: FrontEndConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("window", torch.hann_window(config.n_fft, periodic=True), persistent=False)
        is_stored = config.filter_bank == "stored"
        n_bins = 1 + config.n_fft // 2
        filter_bank = torch.zeros(config.n_mels, n_bins) if is_stored else compute_mel_filter_bank(config)
        self.register_buffer("mel_filter_bank", filter_bank, persistent=is_stored)
        self.input_norm = nn.BatchNorm2d(1) if config.normalisation == "batch_norm" else None

    def forward(self, waveform: Tensor) -> Tensor:
        """Compute the model's input.

        Parameters
        ----------
        waveform
            [shape=(n_clips, n_samples)], float32, about [-1, 1].

        Returns
        -------
        torch.Tensor
            [shape=(n_clips, n_mels, n_frames)], float32; decibels, or normalised as the configuration says.

        Raises
        ------
        ValueError
            When the waveform is not (n_clips, n_samples).
        """
        with torch.autocast(waveform.device.type, enabled=False):
            return self._normalise(self.decibels(waveform.float()))

    def decibels(self, waveform: Tensor) -> Tensor:
        """Compute the log-mel map before its normalisation.

        Parameters
        ----------
        waveform
            [shape=(n_clips, n_samples)], float32, about [-1, 1].

        Returns
        -------
        torch.Tensor
            [shape=(n_clips, n_mels, n_frames)], dB.
        """
        mel = self.mel_power(waveform)
        exponent = 2.0 if self.config.squares_mel else 1.0
        decibels = mel.clamp_(min=self.config.amin ** (1 / exponent)).log10_().mul_(10.0 * exponent)
        if self.config.db_reference == "clip_maximum":
            decibels = decibels - decibels.amax(dim=(1, 2), keepdim=True)
        if self.config.dynamic_range_db is not None:
            floor = decibels.amax(dim=(1, 2), keepdim=True) - self.config.dynamic_range_db
            decibels = torch.maximum(decibels, floor)
        return decibels

    def mel_power(self, waveform: Tensor) -> Tensor:
        """Compute the mel map before it is compressed.

        Parameters
        ----------
        waveform
            [shape=(n_clips, n_samples)], float32, about [-1, 1].

        Returns
        -------
        torch.Tensor
            [shape=(n_clips, n_mels, n_frames)], from 0 up.
        """
        if waveform.ndim != 2:
            msg = f"a waveform batch has the shape (n_clips, n_samples), not {tuple(waveform.shape)}"
            raise ValueError(msg)
        spectrum = torch.stft(
            self._pad(waveform),
            n_fft=self.config.n_fft,
            hop_length=self.config.hop_length,
            window=self.window,
            center=False,
            return_complex=True,
        )
        # re^2 + im^2 is several times as fast as the modulus of complex numbers
        power = torch.addcmul(spectrum.real * spectrum.real, spectrum.imag, spectrum.imag)
        if self.config.power != 2.0:
            power = power.pow(self.config.power / 2)
        return torch.matmul(self.mel_filter_bank, power)

    def _pad(self, waveform: Tensor) -> Tensor:
        """Pad both ends as the configuration says."""
        half = self.config.n_fft // 2
        if self.config.padding in ("constant", "reflect"):
            return functional.pad(waveform, (half, half), mode=self.config.padding)
        n_samples = waveform.shape[1]
        n_missing = (self.config.n_frames(n_samples) - 1) * self.config.hop_length + self.config.n_fft - n_samples
        if self.config.padding == "theano_same":
            return functional.pad(waveform, (half + 1, n_missing - half - 1))
        n_missing = max(0, n_missing)
        return functional.pad(waveform, (n_missing // 2, n_missing - n_missing // 2))

    def _normalise(self, decibels: Tensor) -> Tensor:
        """Scale the map as the configuration says."""
        if self.input_norm is not None:
            normalised: Tensor = self.input_norm(decibels.unsqueeze(1)).squeeze(1)
            return normalised
        if self.config.normalisation == "clip":
            mean = decibels.mean(dim=(1, 2), keepdim=True)
            deviation = decibels.std(dim=(1, 2), keepdim=True, correction=0)
            return (decibels - mean) / (deviation + _SILENT_DEVIATION)
        return decibels


def compute_mel_filter_bank(config: FrontEndConfig) -> Tensor:
    """Compute the mel filter bank with librosa.

    Returns
    -------
    torch.Tensor
        [shape=(n_mels, 1 + n_fft // 2)], float32.
    """
    import librosa

    filter_bank = librosa.filters.mel(
        sr=config.sample_rate,
        n_fft=config.n_fft,
        n_mels=config.n_mels,
        fmin=config.fmin,
        fmax=config.fmax,
        htk=config.mel_scale == "htk",
        norm="slaney" if config.mel_norm == "slaney" else None,
    )
    return torch.from_numpy(filter_bank)
