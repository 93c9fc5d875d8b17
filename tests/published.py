"""Files in the layouts that were published, with random numbers in them, and where the real ones lie."""

import dataclasses
import hashlib
import json
import math
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from tagcli.weights.entries import CatalogueEntry

SHARED = Path(__file__).parents[2] / "shared"
WON2020 = (
    *(f"won2020-{dataset}-{kind}" for kind in ("fcn", "crnn") for dataset in ("msd", "mtat", "jamendo")),
    "won2020-mtat-musicnn",
    "won2020-jamendo-musicnn",
)
UNCALIBRATED = "choi2017-compact-cnn"
PULLED = (*WON2020, "choi2016-crnn", UNCALIBRATED)
"""Whatever has an address, in the order of the catalogue."""

needs_published_files = pytest.mark.skipif(
    not (SHARED / "weights" / "files.json").is_file(), reason="the published files are not beside this checkout"
)


def won2020_state(seed: int = 0, *, kind: str = "fcn") -> dict[str, torch.Tensor]:
    """An untrained FCN, CRNN or musicnn as its authors' training script would save it."""
    generator = torch.Generator().manual_seed(seed)

    def norm(prefix: str, n_maps: int) -> dict[str, torch.Tensor]:
        return {
            f"{prefix}.weight": torch.rand(n_maps, generator=generator) + 0.5,
            f"{prefix}.bias": torch.randn(n_maps, generator=generator),
            f"{prefix}.running_mean": torch.randn(n_maps, generator=generator),
            f"{prefix}.running_var": torch.rand(n_maps, generator=generator) + 0.5,
            f"{prefix}.num_batches_tracked": torch.tensor(7),
        }

    state = {
        "spec.spectrogram.window": torch.hann_window(512, periodic=True),
        "spec.mel_scale.fb": torch.rand(257, 96, generator=generator),
        **norm("spec_bn", 1),
    }
    if kind == "musicnn":
        shapes = {"layers.0": (204, 1, 67, 7), "layers.1": (204, 1, 38, 7)}
        shapes |= {f"layers.{index}": (51, 1, length) for index, length in ((2, 129), (3, 65), (4, 33))}
        shapes |= {"layer1": (64, 561, 7), "layer2": (64, 64, 7), "layer3": (64, 64, 7)}
        for layer, shape in shapes.items():
            state[f"{layer}.conv.weight"] = torch.randn(shape, generator=generator) / math.prod(shape[1:]) ** 0.5
            state[f"{layer}.conv.bias"] = torch.randn(shape[0], generator=generator)
            state.update(norm(f"{layer}.bn", shape[0]))
        state["dense1.weight"] = torch.randn(200, 1506, generator=generator) / 40
        state["dense1.bias"] = torch.randn(200, generator=generator)
        state.update(norm("bn", 200))
        state["dense2.weight"] = torch.randn(50, 200, generator=generator) / 14
        state["dense2.bias"] = torch.randn(50, generator=generator)
        return state
    n_inputs = 1
    channels, n_features = ((64, 128, 128, 128, 64), 64) if kind == "fcn" else ((64, 128, 128, 128), 32)
    for number, n_maps in enumerate(channels, start=1):
        state[f"layer{number}.conv.weight"] = torch.randn(n_maps, n_inputs, 3, 3, generator=generator) / 10
        state[f"layer{number}.conv.bias"] = torch.randn(n_maps, generator=generator)
        state.update(norm(f"layer{number}.bn", n_maps))
        n_inputs = n_maps
    if kind == "crnn":
        for layer, n_inputs in enumerate((128, 32)):
            shapes = {"weight_ih": (96, n_inputs), "weight_hh": (96, 32), "bias_ih": (96,), "bias_hh": (96,)}
            for part, shape in shapes.items():
                state[f"layer5.{part}_l{layer}"] = torch.randn(shape, generator=generator) / 10
    state["dense.weight"] = torch.randn(50, n_features, generator=generator)
    state["dense.bias"] = torch.randn(50, generator=generator)
    return state


def keras2_arrays(seed: int = 0) -> dict[str, np.ndarray]:
    """Tensors of an untrained "keras2" model, by their names below ``model_weights``."""
    random = np.random.default_rng(seed)
    sample, bin_ = np.arange(512)[:, None], np.arange(257)[None, :]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * sample / 512)
    phase = 2 * np.pi * sample * bin_ / 512
    arrays = {
        "melgram/melgram/real_kernels:0": (hann * np.cos(phase))[:, None, None, :],
        "melgram/melgram/imag_kernels:0": (hann * np.sin(phase))[:, None, None, :],
        "melgram/melgram/Variable:0": random.random((257, 96)),
        "dense_1/dense_1/kernel:0": random.normal(size=(32, 50)),
        "dense_1/dense_1/bias:0": random.normal(size=50),
    }
    for number in range(1, 6):
        n_inputs = 1 if number == 1 else 32
        conv, norm = f"conv2d_{number}/conv2d_{number}", f"batch_normalization_{number}/batch_normalization_{number}"
        arrays[f"{conv}/kernel:0"] = random.normal(size=(3, 3, n_inputs, 32)) / 10
        arrays[f"{conv}/bias:0"] = random.normal(size=32)
        arrays[f"{norm}/gamma:0"] = random.random(32) + 0.5
        arrays[f"{norm}/beta:0"] = random.normal(size=32)
        arrays[f"{norm}/moving_mean:0"] = random.normal(size=32)
        arrays[f"{norm}/moving_variance:0"] = random.random(32) + 0.5
    return {key: array.astype(np.float32) for key, array in arrays.items()}


def keras2_layers() -> dict[str, dict[str, object]]:
    """What the "keras2" file says of its layers, as far as it bears on the result."""
    layers: dict[str, dict[str, object]] = {
        "melgram": {
            "sr": 12000,
            "n_dft": 512,
            "n_hop": 256,
            "fmin": 0.0,
            "fmax": 6000,
            "padding": "same",
            "power_spectrogram": 2.0,
            "return_decibel_spectrogram": False,
            "power_melgram": 2.0,
            "return_decibel_melgram": True,
        },
        "normalization2d_1": {"str_axis": "data_sample"},
        "dense_1": {"activation": "sigmoid"},
    }
    for number, pool in enumerate(([2, 4], [3, 4], [2, 5], [2, 4], [4, 4]), start=1):
        layers[f"conv2d_{number}"] = {"padding": "same", "activation": "linear"}
        layers[f"batch_normalization_{number}"] = {"epsilon": 0.001}
        layers[f"elu_{number}"] = {"alpha": 1.0}
        layers[f"MP_{number}"] = {"pool_size": pool, "strides": pool}
    return layers


def write_keras2(path: Path, arrays: dict[str, np.ndarray], layers: dict[str, dict[str, object]]) -> Path:
    """Write a Keras model file, optimizer state included."""
    config = [{"class_name": "Layer", "config": {"name": name, **layer}} for name, layer in layers.items()]
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": config})
        for key, array in arrays.items():
            file[f"model_weights/{key}"] = array
        file["optimizer_weights/step:0"] = 1.0
    return path


def choi2016_arrays(seed: int = 0) -> dict[str, np.ndarray]:
    """Tensors of an untrained MusicTaggerCRNN by their names in Theano's file."""
    random = np.random.default_rng(seed)
    arrays = {"output/output_W": random.normal(size=(32, 50)) / 6, "output/output_b": random.normal(size=50)}
    n_inputs = 1
    for number, n_maps in enumerate((64, 128, 128, 128), start=1):
        arrays[f"conv{number}/conv{number}_W"] = random.normal(size=(n_maps, n_inputs, 3, 3)) / (3 * n_inputs**0.5)
        arrays[f"conv{number}/conv{number}_b"] = random.normal(size=n_maps)
        n_inputs = n_maps
    for norm, n_values in {"bn_0_freq": 1440, "bn1": 64, "bn2": 128, "bn3": 128, "bn4": 128}.items():
        arrays[f"{norm}/{norm}_gamma"] = random.random(n_values) + 0.5
        arrays[f"{norm}/{norm}_beta"] = random.normal(size=n_values)
        arrays[f"{norm}/{norm}_running_mean"] = random.normal(size=n_values)
        arrays[f"{norm}/{norm}_running_std"] = random.random(n_values) + 0.5
    for number, n_inputs in ((1, 128), (2, 32)):
        for gate in "zrh":
            arrays[f"gru{number}/gru{number}_W_{gate}"] = random.normal(size=(n_inputs, 32)) / n_inputs**0.5
            arrays[f"gru{number}/gru{number}_U_{gate}"] = random.normal(size=(32, 32)) / 6
            arrays[f"gru{number}/gru{number}_b_{gate}"] = random.normal(size=32)
    return {key: array.astype(np.float32) for key, array in arrays.items()}


def to_tensorflow(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same weights as Keras with TensorFlow names and lays them out."""
    ending = {True: ":0", False: "_1:0"}  # of recurrent layers, and of all others
    return {
        key + ending[key.startswith("gru")]: array[:, :, ::-1, ::-1] if array.ndim == 4 else array
        for key, array in arrays.items()
    }


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    """Write a Keras file of weights alone."""
    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            file[key] = array
    return path


def entry_for(published: CatalogueEntry, content: bytes, **changes: object) -> CatalogueEntry:
    """The catalogue entry of a file with other bytes."""
    return dataclasses.replace(published, sha256=hashlib.sha256(content).hexdigest(), n_bytes=len(content), **changes)
