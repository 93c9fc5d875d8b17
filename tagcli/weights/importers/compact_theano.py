"""Choi's compact network as it was published first: Keras 1.2 on Theano, without its batch-norm statistics.

Choi, Fazekas, Cho, Sandler, "The effects of noisy labels on deep convolutional neural networks for music tagging"
(2017), the model in the released code. Its batch norms (Keras' mode 2) normalise by the batch at hand also after
training, so that the stored statistics are still the first ones, 0 and 1; the statistics of each clip stand in for them
until others are estimated. Theano convolves where PyTorch correlates: all kernels are stored flipped.
"""

from pathlib import Path

import h5py
import numpy as np
import torch

from tagcli.audio.clips import ClipRule
from tagcli.checkpoint import CheckpointHeader, Provenance
from tagcli.errors import CheckpointError
from tagcli.features.config import FrontEndConfig
from tagcli.models.config import ConvNetConfig, compact_config
from tagcli.tags import Vocabulary
from tagcli.weights.importers.kapre import check_kernels
from tagcli.weights.importers.keras_arrays import Array, find_datasets, read_arrays
from tagcli.weights.importers.layout import Layout

FRONT_END = FrontEndConfig(
    sample_rate=12_000,
    padding="theano_same",
    fmax=6_000.0,
    filter_bank="stored",
    db_reference="clip_maximum",  # of the batch in the released code; a batch of one is what can be reproduced
    dynamic_range_db=80.0,
)
CLIP = ClipRule(n_samples=29 * FRONT_END.sample_rate, short="zeros")

_COSINES, _SINES, _FILTER_BANK = "melgram/param_0", "melgram/param_1", "melgram/param_2"
_BLOCKS = "ConvBNEluDr"
_STATISTICS = {"running_mean": 0.0, "running_std": 1.0}
"""Keras 1 calls the variance so; and what it begins with."""


def convert_compact_theano(
    source: Path, *, name: str, vocabulary: Vocabulary, provenance: Provenance
) -> tuple[CheckpointHeader, dict[str, torch.Tensor]]:
    """Read a ``weights_theano.hdf5`` with its dense layer.

    Parameters
    ----------
    source
        The file.
    name, vocabulary, provenance
        What goes into the header as it is.

    Returns
    -------
    CheckpointHeader
        Configuration of the published model, with batch norms that take the statistics of each clip.
    dict of str to torch.Tensor
        Tensors as the tagger names them.

    Raises
    ------
    CheckpointError
        When the file cannot be read or is not such a model.
    """
    architecture = compact_config(n_tags=len(vocabulary), batch_norm_statistics="clip")
    try:
        with h5py.File(source, "r") as file:
            arrays = read_arrays(source, find_datasets(file), _layout(architecture))
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:  # what h5py makes of damaged bytes
        msg = f"{source} cannot be read as a Keras weights file ({error}); check which file it is."
        raise CheckpointError(msg, path=source) from error
    check_kernels(source, arrays, cosines=_COSINES, sines=_SINES, n_fft=FRONT_END.n_fft)
    _check_statistics(source, arrays, architecture)
    header = CheckpointHeader(
        name=name,
        front_end=FRONT_END,
        clip=CLIP,
        architecture=architecture,
        vocabulary=vocabulary,
        provenance=provenance,
    )
    return header, _rename(arrays, architecture)


def _layout(architecture: ConvNetConfig) -> Layout:
    n_bins = FRONT_END.n_fft // 2 + 1
    shapes: dict[str, tuple[int, ...]] = {
        _COSINES: (FRONT_END.n_fft, 1, 1, n_bins),
        _SINES: (FRONT_END.n_fft, 1, 1, n_bins),
        _FILTER_BANK: (n_bins, FRONT_END.n_mels),
    }
    n_inputs = 1
    for number, n_maps in enumerate(architecture.channels, start=1):
        shapes[_conv(number, "W")] = (n_maps, n_inputs, 3, 3)
        shapes[_conv(number, "b")] = (n_maps,)
        for part in ("gamma", "beta", *_STATISTICS):
            shapes[_norm(number, part)] = (n_maps,)
        n_inputs = n_maps
    shapes["dense_1/dense_1_W"] = (architecture.n_features, architecture.n_tags)
    shapes["dense_1/dense_1_b"] = (architecture.n_tags,)
    return {key: (shape, "float32") for key, shape in shapes.items()}


def _conv(number: int, part: str) -> str:
    return f"{_BLOCKS}/convolution2d_{number}_{part}"


def _norm(number: int, part: str) -> str:
    return f"{_BLOCKS}/batchnormalization_{number}_{part}"


def _check_statistics(source: Path, arrays: dict[str, Array], architecture: ConvNetConfig) -> None:
    """Make sure that there are none to be lost."""
    for number in range(1, len(architecture.channels) + 1):
        for part, first in _STATISTICS.items():
            if not (arrays[_norm(number, part)] == first).all():
                msg = (
                    f"{source} holds batch-norm statistics ({_norm(number, part)}), which the published model has not; "
                    "another model cannot be imported."
                )
                raise CheckpointError(msg, path=source)


def _rename(arrays: dict[str, Array], architecture: ConvNetConfig) -> dict[str, torch.Tensor]:
    """Name the tensors as the tagger does, with kernels for a correlation."""
    renamed = {"front_end.mel_filter_bank": arrays[_FILTER_BANK].T}
    for index in range(len(architecture.channels)):
        number, block = index + 1, f"model.blocks.{index}"
        renamed[f"{block}.conv.weight"] = arrays[_conv(number, "W")][:, :, ::-1, ::-1]
        renamed[f"{block}.conv.bias"] = arrays[_conv(number, "b")]
        renamed[f"{block}.norm.weight"] = arrays[_norm(number, "gamma")]
        renamed[f"{block}.norm.bias"] = arrays[_norm(number, "beta")]
    renamed["model.dense.weight"] = arrays["dense_1/dense_1_W"].T
    renamed["model.dense.bias"] = arrays["dense_1/dense_1_b"]
    return {key: torch.from_numpy(np.ascontiguousarray(array)) for key, array in renamed.items()}
