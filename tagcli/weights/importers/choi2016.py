"""The MusicTaggerCRNN of Choi et al. as its authors saved it: weights of Keras 1, in Theano's layout or TensorFlow's.

Choi, Fazekas, Sandler, Cho, "Convolutional recurrent neural networks for music classification" (2016). The file holds
tensors only; front end and clip are those of the authors' ``audio_processor.py``, whose librosa mirrored the ends of a
waveform. Theano convolves where others correlate, so its kernels are stored the other way round; TensorFlow has given
its tensors endings. Both files hold the same weights.
"""

import re
from pathlib import Path

import h5py
import numpy as np
import torch

from tagcli.audio.clips import ClipRule
from tagcli.checkpoint import CheckpointHeader, Provenance
from tagcli.errors import CheckpointError
from tagcli.features.config import FrontEndConfig
from tagcli.features.log_mel import compute_mel_filter_bank
from tagcli.models.config import Choi2016Config, choi2016_config
from tagcli.tags import Vocabulary
from tagcli.weights.importers.keras_arrays import Array, find_datasets, read_arrays

FRONT_END = FrontEndConfig(
    sample_rate=12_000,
    padding="reflect",
    fmax=6_000.0,
    filter_bank="stored",
    squares_mel=True,
    dynamic_range_db=80.0,
)
CLIP = ClipRule(n_samples=1365 * FRONT_END.hop_length, short="zeros")  # 29.12 s

_TENSORFLOW_ENDING = re.compile(r"(_\d+)?:0$")
# Keras 1 calls the variance running_std
_NORM_PARTS = {"gamma": "weight", "beta": "bias", "running_mean": "running_mean", "running_std": "running_var"}
_GATES = ("r", "z", "h")  # in the tagger's order: reset, update, candidate


def convert_choi2016(
    source: Path, *, name: str, vocabulary: Vocabulary, provenance: Provenance
) -> tuple[CheckpointHeader, dict[str, torch.Tensor]]:
    """Read a ``music_tagger_crnn_weights_*.h5``.

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
    architecture = choi2016_config(n_tags=len(vocabulary))
    try:
        with h5py.File(source, "r") as file:
            arrays = _read_arrays(source, file, architecture)
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:  # what h5py makes of damaged bytes
        msg = f"{source} cannot be read as a Keras weights file ({error}); check which file it is."
        raise CheckpointError(msg, path=source) from error
    header = CheckpointHeader(
        name=name,
        front_end=FRONT_END,
        clip=CLIP,
        architecture=architecture,
        vocabulary=vocabulary,
        provenance=provenance,
    )
    return header, _rename(arrays, architecture)


def _read_arrays(source: Path, file: h5py.File, architecture: Choi2016Config) -> dict[str, Array]:
    """Read the tensors by Theano's names, with kernels that correlate."""
    datasets = find_datasets(file)
    is_theano = not any(_TENSORFLOW_ENDING.search(key) for key in datasets)
    named = datasets if is_theano else {_TENSORFLOW_ENDING.sub("", key): item for key, item in datasets.items()}
    if len(named) < len(datasets):
        msg = f"{source} has several tensors of one name, so it is not of this format; check which file it is."
        raise CheckpointError(msg, path=source)
    arrays = read_arrays(source, named, _layout(architecture))
    if not is_theano:
        return arrays
    return {key: array[:, :, ::-1, ::-1] if array.ndim == 4 else array for key, array in arrays.items()}


def _layout(architecture: Choi2016Config) -> dict[str, tuple[tuple[int, ...], str]]:
    shapes: dict[str, tuple[int, ...]] = {}
    n_inputs, n_units = 1, architecture.n_gru_units
    for number, n_maps in enumerate(architecture.channels, start=1):
        shapes[f"conv{number}/conv{number}_W"] = (n_maps, n_inputs, 3, 3)
        shapes[f"conv{number}/conv{number}_b"] = (n_maps,)
        n_inputs = n_maps
    for norm, n_values in _norms(architecture).items():
        for part in _NORM_PARTS:
            shapes[f"{norm}/{norm}_{part}"] = (n_values,)
    n_inputs = architecture.n_features
    for number in range(1, architecture.n_gru_layers + 1):
        gru = f"gru{number}/gru{number}"
        for gate in _GATES:
            shapes[f"{gru}_W_{gate}"] = (n_inputs, n_units)
            shapes[f"{gru}_U_{gate}"] = (n_units, n_units)
            shapes[f"{gru}_b_{gate}"] = (n_units,)
        n_inputs = n_units
    shapes["output/output_W"] = (n_units, architecture.n_tags)
    shapes["output/output_b"] = (architecture.n_tags,)
    return {key: (shape, "float32") for key, shape in shapes.items()}


def _norms(architecture: Choi2016Config) -> dict[str, int]:
    """Name the batch norms, with the number of their values."""
    of_blocks = {f"bn{number}": n_maps for number, n_maps in enumerate(architecture.channels, start=1)}
    return {"bn_0_freq": architecture.n_block_frames, **of_blocks}


def _rename(arrays: dict[str, Array], architecture: Choi2016Config) -> dict[str, torch.Tensor]:
    """Name the tensors as the tagger does, in PyTorch's order of axes."""
    renamed: dict[str, Array] = {}
    tensors = {"front_end.mel_filter_bank": compute_mel_filter_bank(FRONT_END)}
    for norm in _norms(architecture):
        is_input = norm == "bn_0_freq"
        place = "model.input_norm" if is_input else f"model.blocks.{int(norm.removeprefix('bn')) - 1}.norm"
        for part, name in _NORM_PARTS.items():
            renamed[f"{place}.{name}"] = arrays[f"{norm}/{norm}_{part}"]
        tensors[f"{place}.num_batches_tracked"] = torch.tensor(0)
    for index in range(len(architecture.channels)):
        conv = f"conv{index + 1}/conv{index + 1}"
        renamed[f"model.blocks.{index}.conv.weight"] = arrays[f"{conv}_W"]
        renamed[f"model.blocks.{index}.conv.bias"] = arrays[f"{conv}_b"]
    for layer in range(architecture.n_gru_layers):
        gru = f"gru{layer + 1}/gru{layer + 1}"
        renamed[f"model.gru.weight_ih_l{layer}"] = np.concatenate([arrays[f"{gru}_W_{gate}"].T for gate in _GATES])
        renamed[f"model.gru.weight_hh_l{layer}"] = np.concatenate([arrays[f"{gru}_U_{gate}"].T for gate in _GATES])
        renamed[f"model.gru.bias_l{layer}"] = np.concatenate([arrays[f"{gru}_b_{gate}"] for gate in _GATES])
    renamed["model.dense.weight"] = arrays["output/output_W"].T
    renamed["model.dense.bias"] = arrays["output/output_b"]
    tensors.update({name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in renamed.items()})
    return tensors
