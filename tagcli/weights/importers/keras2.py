"""The "keras2" retraining of Choi's compact network: a Keras 2.1 file with real moving statistics.

Choi, Fazekas, Sandler, Cho, "Transfer learning for music classification and regression tasks" (2017), the model in
the released code. The file carries its configuration, its STFT kernels and its filter bank, and all are checked: the
authors' notebook speaks of 16 kHz, while what is stored was made for 12 kHz.
"""

import json
from pathlib import Path
from typing import Any

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

FRONT_END = FrontEndConfig(
    sample_rate=12_000,
    padding="tensorflow_same",
    fmax=6_000.0,
    mel_scale="slaney",
    mel_norm="slaney",
    filter_bank="stored",
    db_reference="clip_maximum",
    dynamic_range_db=80.0,
    normalisation="clip",
)
CLIP = ClipRule(n_samples=29 * FRONT_END.sample_rate, short="zeros")

_GROUP = "model_weights"
_COSINES, _SINES = "melgram/melgram/real_kernels:0", "melgram/melgram/imag_kernels:0"
_FILTER_BANK = "melgram/melgram/Variable:0"
_NORM_PARTS = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


def convert_keras2(
    source: Path, *, name: str, vocabulary: Vocabulary, provenance: Provenance
) -> tuple[CheckpointHeader, dict[str, torch.Tensor]]:
    """Read a ``model_best.hdf5``; its optimizer state is passed over.

    Parameters
    ----------
    source
        The file.
    name, vocabulary, provenance
        What goes into the header as it is.

    Returns
    -------
    CheckpointHeader
        Configuration of the published model.
    dict of str to torch.Tensor
        Tensors as the tagger names them.

    Raises
    ------
    CheckpointError
        When the file cannot be read or is not such a model.
    """
    architecture = compact_config(n_tags=len(vocabulary), head="global_max", embedding_tap="after_activation")
    try:
        with h5py.File(source, "r") as file:
            layers = _layers(file.attrs.get("model_config"))
            arrays = _read_arrays(source, file.get(_GROUP), architecture)
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:  # what h5py makes of damaged bytes
        msg = f"{source} cannot be read as a Keras model file ({error}); check which file it is."
        raise CheckpointError(msg, path=source) from error

    _check_config(source, layers, architecture)
    check_kernels(source, arrays, cosines=_COSINES, sines=_SINES, n_fft=FRONT_END.n_fft)
    header = CheckpointHeader(
        name=name,
        front_end=FRONT_END,
        clip=CLIP,
        architecture=architecture,
        vocabulary=vocabulary,
        provenance=provenance,
    )
    return header, _rename(arrays, architecture)


def _layers(config: object) -> dict[str, dict[str, Any]]:
    """Index the stored configuration by the layers' names."""
    if not isinstance(config, str | bytes):
        msg = "it has no model_config"
        raise TypeError(msg)
    return {layer["config"]["name"]: dict(layer["config"]) for layer in json.loads(config)["config"]}


def _read_arrays(source: Path, group: object, architecture: ConvNetConfig) -> dict[str, Array]:
    if not isinstance(group, h5py.Group):
        msg = f"{source} has no group {_GROUP}, so it is not a whole Keras model; check which file it is."
        raise CheckpointError(msg, path=source)
    return read_arrays(source, find_datasets(group), _layout(architecture))


def _layout(architecture: ConvNetConfig) -> dict[str, tuple[tuple[int, ...], str]]:
    n_bins = FRONT_END.n_fft // 2 + 1
    shapes: dict[str, tuple[int, ...]] = {
        _COSINES: (FRONT_END.n_fft, 1, 1, n_bins),
        _SINES: (FRONT_END.n_fft, 1, 1, n_bins),
        _FILTER_BANK: (n_bins, FRONT_END.n_mels),
    }
    n_inputs = 1
    for number, n_maps in enumerate(architecture.channels, start=1):
        shapes[_key("conv2d", number, "kernel")] = (3, 3, n_inputs, n_maps)
        shapes[_key("conv2d", number, "bias")] = (n_maps,)
        for part in _NORM_PARTS:
            shapes[_key("batch_normalization", number, part)] = (n_maps,)
        n_inputs = n_maps
    shapes[_key("dense", 1, "kernel")] = (architecture.n_features, architecture.n_tags)
    shapes[_key("dense", 1, "bias")] = (architecture.n_tags,)
    return {key: (shape, "float32") for key, shape in shapes.items()}


def _key(layer: str, number: int, part: str) -> str:
    return f"{layer}_{number}/{layer}_{number}/{part}:0"


def _check_config(source: Path, layers: dict[str, dict[str, Any]], architecture: ConvNetConfig) -> None:
    """Compare what the file says of itself with what tagcli would compute; shapes alone do not tell."""
    expected: dict[tuple[str, str], object] = {
        ("melgram", "sr"): FRONT_END.sample_rate,
        ("melgram", "n_dft"): FRONT_END.n_fft,
        ("melgram", "n_hop"): FRONT_END.hop_length,
        ("melgram", "fmin"): FRONT_END.fmin,
        ("melgram", "fmax"): FRONT_END.fmax,
        ("melgram", "padding"): "same",
        ("melgram", "power_spectrogram"): 2.0,
        ("melgram", "return_decibel_spectrogram"): False,
        ("melgram", "power_melgram"): FRONT_END.power,
        ("melgram", "return_decibel_melgram"): True,
        ("normalization2d_1", "str_axis"): "data_sample",
        ("dense_1", "activation"): "sigmoid",
    }
    for number, pool in enumerate(architecture.pools, start=1):
        expected[f"conv2d_{number}", "padding"] = "same"
        expected[f"conv2d_{number}", "activation"] = "linear"
        expected[f"batch_normalization_{number}", "epsilon"] = architecture.batch_norm_eps
        expected[f"elu_{number}", "alpha"] = 1.0
        expected[f"MP_{number}", "pool_size"] = list(pool)
        expected[f"MP_{number}", "strides"] = list(pool)
    for (layer, setting), value in expected.items():
        found = layers.get(layer, {}).get(setting)
        if found != value:
            msg = (
                f"{source} says {setting} = {found!r} of its layer {layer} in place of {value!r}; a model with other "
                "settings cannot be imported."
            )
            raise CheckpointError(msg, path=source)


def _rename(arrays: dict[str, Array], architecture: ConvNetConfig) -> dict[str, torch.Tensor]:
    """Name the tensors as the tagger does, in PyTorch's order of axes."""
    renamed: dict[str, Array] = {"front_end.mel_filter_bank": arrays[_FILTER_BANK].T}
    tensors: dict[str, torch.Tensor] = {}
    for index in range(len(architecture.channels)):
        number, block = index + 1, f"model.blocks.{index}"
        # Keras (bands, frames, in, out) to PyTorch (out, in, bands, frames); TensorFlow correlates, nothing is flipped
        renamed[f"{block}.conv.weight"] = arrays[_key("conv2d", number, "kernel")].transpose(3, 2, 0, 1)
        renamed[f"{block}.conv.bias"] = arrays[_key("conv2d", number, "bias")]
        for part, name in _NORM_PARTS.items():
            renamed[f"{block}.norm.{name}"] = arrays[_key("batch_normalization", number, part)]
        tensors[f"{block}.norm.num_batches_tracked"] = torch.tensor(0)
    renamed["model.dense.weight"] = arrays[_key("dense", 1, "kernel")].T
    renamed["model.dense.bias"] = arrays[_key("dense", 1, "bias")]
    tensors.update({name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in renamed.items()})
    return tensors
