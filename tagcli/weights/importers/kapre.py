"""What files of Keras networks with a kapre front end have in common: STFT kernels.

The kernels are the real and imaginary parts of a Hann-windowed Fourier transform, which tagcli computes itself: what is
stored is checked and left.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tagcli.errors import CheckpointError
from tagcli.weights.importers.keras_arrays import Array

KERNEL_TOLERANCE = 1e-6
"""The published kernels are float32 roundings of a Hann-windowed DFT, within 6e-8."""


def check_kernels(source: Path, arrays: Mapping[str, Array], *, cosines: str, sines: str, n_fft: int) -> None:
    """Compare the stored kernels with those that tagcli computes.

    Parameters
    ----------
    source
        The file, for the message.
    arrays
        Its arrays.
    cosines, sines
        Which of them are the kernels [shape=(n_fft, 1, 1, 1 + n_fft // 2)].
    n_fft
        Length of the window, in samples.

    Raises
    ------
    CheckpointError
        When they are others.
    """
    sample = np.arange(n_fft)[:, np.newaxis]
    bin_ = np.arange(n_fft // 2 + 1)[np.newaxis, :]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * sample / n_fft)
    phase = 2 * np.pi * sample * bin_ / n_fft
    for key, kernels in ((cosines, hann * np.cos(phase)), (sines, hann * np.sin(phase))):
        difference = float(np.abs(arrays[key][:, 0, 0, :] - kernels).max())
        if difference > KERNEL_TOLERANCE:
            msg = (
                f"The kernels {key} of {source} are not a Hann-windowed Fourier transform (they differ by "
                f"{difference:.1e}); a model with another front end cannot be imported."
            )
            raise CheckpointError(msg, path=source)
