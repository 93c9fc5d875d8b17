"""A data set that is easy to learn: low and high tones in noise; and a recipe that is fast."""

import math

import numpy as np
import pytest

from tagcli.datasets.manifest import Manifest
from tagcli.datasets.manifest_file import write_manifest

TINY = {
    "front_end": {
        "name": "mel96-12k",
        "sample_rate": 8000,
        "n_fft": 256,
        "hop_length": 128,
        "n_mels": 32,
        "fmax": 4000.0,
    },
    "clip": {"seconds": 1.0},
    "model": {
        "architecture": "tiny",
        "channels": [4, 4],
        "pools": [[4, 4], [8, 15]],
        "activation": "elu",
        "head": "flatten",
        "batch_norm_eps": 1e-3,
        "embedding_tap": "after_pooling",
    },
    "data": {"validation_clips": "middle"},
    "optimisation": {"epochs": 3, "batch_size": 4, "learning_rate": 1e-2, "save_minutes": 1e-6},
}
N_TRAIN, N_VALIDATION = 14, 8
SECONDS = 1.5


def make_manifest(root, *, n_train=N_TRAIN, n_validation=N_VALIDATION, tags=("low", "high")):
    """Describe examples that carry one tag of two each."""
    n = n_train + n_validation
    labels = np.zeros((n, len(tags)), dtype=bool)
    labels[np.arange(n), np.arange(n) % 2] = True
    paths = tuple(f"{row:03}.wav" for row in range(n))
    return Manifest(
        name="toy",
        root=root,
        tags=tags,
        paths=paths,
        ids=paths,
        splits=("train",) * n_train + ("validation",) * n_validation,
        artists=tuple(f"artist {row // 2}" for row in range(n)),
        starts_seconds=np.zeros(n),
        durations_seconds=np.full(n, math.nan),
        labels=labels,
        known=np.ones_like(labels),
    )


@pytest.fixture(scope="session")
def toy(tmp_path_factory, encode):
    """Low and high tones in noise, as a data set."""
    root = tmp_path_factory.mktemp("toy")
    manifest = make_manifest(root)
    generator = np.random.default_rng(5)
    time = np.arange(round(SECONDS * 8000)) / 8000
    for row, name in enumerate(manifest.paths):
        frequency = generator.uniform(200, 400) if row % 2 == 0 else generator.uniform(2000, 3000)
        tone = 0.2 * np.sin(2 * np.pi * frequency * time) + 0.05 * generator.standard_normal(len(time))
        encode(root / name, tone[np.newaxis].astype(np.float32), 8000)
    write_manifest(manifest, root / "toy.tsv")
    return manifest
