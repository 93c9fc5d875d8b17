"""Fixtures: audio that is made on the spot, a tiny tagger, and the shared material when it lies beside the checkout."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side, and what they compute is small

import av
import numpy as np
import pytest
import soundfile
import torch
from toy_dataset import toy  # noqa: F401  # a fixture

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of published weights, real audio and expected outputs; the test is skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the shared folder with published weights and real audio is not beside the checkout")
    return SHARED


@pytest.fixture(autouse=True)
def _own_user_folders(tmp_path_factory, monkeypatch):
    """Keep the user's weights and configuration out of the tests, and the tests out of them."""
    home = tmp_path_factory.mktemp("home")
    for name in ("DATA", "CONFIG", "CACHE", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))
    monkeypatch.delenv("TAGCLI_WEIGHTS_MIRROR", raising=False)


def make_music(seconds, sample_rate, *, n_channels=2, seed=0):
    """Make something that moves over the whole spectrum [shape=(n_channels, n_samples)]: modulated tones and noise."""
    generator = np.random.default_rng(seed)
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    planes = np.empty((n_channels, len(time)), dtype=np.float32)
    for plane in planes:
        tones = np.zeros_like(time)
        for _ in range(8):
            frequency, beat = generator.uniform(80, 0.4 * sample_rate), generator.uniform(0.2, 3)
            tones += 0.08 * np.sin(2 * np.pi * frequency * time) * (0.5 + 0.5 * np.sin(2 * np.pi * beat * time))
        plane[:] = tones + 0.03 * generator.standard_normal(len(time))
    return planes


# codec and options by kind of file; PyAV's wheel encodes all of them but Vorbis
_ENCODERS = {
    "mp3": ("libmp3lame", {}, {}, 128_000),
    "cbr-without-header.mp3": ("libmp3lame", {}, {"write_xing": "0"}, 128_000),
    "vbr.mp3": ("libmp3lame", {"global_quality": "472", "flags": "+qscale"}, {}, None),
    "vbr-without-header.mp3": ("libmp3lame", {"global_quality": "472", "flags": "+qscale"}, {"write_xing": "0"}, None),
    "flac": ("flac", {}, {}, None),
    "opus": ("libopus", {}, {}, 96_000),
    "m4a": ("aac", {}, {"movflags": "faststart"}, 128_000),
    "mp4": ("aac", {}, {}, 128_000),
    "aac": ("aac", {}, {}, 128_000),
    "alac.m4a": ("alac", {}, {}, None),
    "wma": ("wmav2", {}, {}, 128_000),
    "mka": ("libopus", {}, {}, 96_000),
    "wv": ("wavpack", {}, {}, None),
}
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}


def encode_audio(path, planes, sample_rate):
    """Encode planes [shape=(n_channels, n_samples)]; the name ends with a kind of `_ENCODERS` or of soundfile."""
    path = Path(path)
    suffix = path.suffix.removeprefix(".")
    if suffix in ("wav", "aiff", "aif", "ogg", "oga"):
        subtype = "VORBIS" if suffix in ("ogg", "oga") else "PCM_16"
        file_format = {"aif": "AIFF", "oga": "OGG"}.get(suffix, suffix.upper())
        soundfile.write(path, planes.T, sample_rate, format=file_format, subtype=subtype)
        return path
    kind = max((kind for kind in _ENCODERS if path.name.endswith(kind)), key=len)
    codec, options, container_options, bit_rate = _ENCODERS[kind]
    layout = _LAYOUTS[len(planes)]
    with av.open(str(path), "w", options=container_options) as container:
        stream = container.add_stream(codec, rate=sample_rate, layout=layout, options=options)
        if bit_rate is not None:
            stream.bit_rate = bit_rate
        resampler = av.AudioResampler(format=stream.format.name, layout=layout, rate=sample_rate)
        for start in range(0, planes.shape[1], 16_384):
            block = np.ascontiguousarray(planes[:, start : start + 16_384])
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            frame.sample_rate, frame.pts = sample_rate, start
            for converted in resampler.resample(frame):
                container.mux(stream.encode(converted))
        for converted in resampler.resample(None):
            container.mux(stream.encode(converted))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="session")
def music():
    """The function `make_music`."""
    return make_music


@pytest.fixture(scope="session")
def encode():
    """The function `encode_audio`."""
    return encode_audio


@pytest.fixture
def seeded():
    """Seed torch's generator."""
    torch.manual_seed(0)


def make_tiny_checkpoint(path, *, name="tiny"):
    """Save a random 5-layer tagger that is fast: 8 kHz, 2 s clips, 5 x 4 maps, 6 tags."""
    from tagcli.audio.clips import ClipRule
    from tagcli.checkpoint import CheckpointHeader, Provenance, save_checkpoint
    from tagcli.features.config import FrontEndConfig
    from tagcli.features.log_mel import LogMel
    from tagcli.models.config import ConvNetConfig
    from tagcli.models.convnet import ConvNet
    from tagcli.tags import Category, Vocabulary

    n_samples = 16_000
    front_end = FrontEndConfig(
        sample_rate=8000, n_fft=256, hop_length=128, n_mels=32, fmax=4000.0, filter_bank="stored"
    )
    architecture = ConvNetConfig(
        architecture="compact",
        n_mels=32,
        n_frames=front_end.n_frames(n_samples),
        channels=(4, 4, 4, 4, 4),
        pools=((2, 2), (2, 2), (2, 2), (2, 2), (2, 4)),
        activation="elu",
        head="global_max",
        n_tags=6,
        batch_norm_eps=1e-3,
        embedding_tap="after_pooling",
    )
    tags = ("rock", "jazz", "guitar", "sad", "90s", "electronic")
    kinds = (Category.GENRE, Category.GENRE, Category.INSTRUMENT, Category.MOOD, Category.ERA, Category.GENRE)
    header = CheckpointHeader(
        name=name,
        front_end=front_end,
        clip=ClipRule(n_samples=n_samples, short="repeat"),
        architecture=architecture,
        vocabulary=Vocabulary(name="tiny", tags=tags, categories=kinds, labels=tags),
        provenance=Provenance(
            source="made by a test", source_sha256="0" * 64, licence="CC0", citation="none", training_data="none"
        ),
    )
    torch.manual_seed(1)
    log_mel, model = LogMel(front_end), ConvNet(architecture)
    log_mel.mel_filter_bank.copy_(torch.rand_like(log_mel.mel_filter_bank) / 32)
    for block in model.blocks:
        block.norm.running_mean.normal_(0, 0.3)
        block.norm.running_var.uniform_(0.5, 2.0)
    tensors = {f"front_end.{key}": value for key, value in log_mel.state_dict().items()}
    tensors |= {f"model.{key}": value.detach() for key, value in model.state_dict().items()}
    save_checkpoint(Path(path), header, tensors)
    return Path(path)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory):
    """A random tagger's checkpoint: 8 kHz, 2 s clips, 6 tags, 3 of them genres."""
    return make_tiny_checkpoint(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


def count_decoders():
    """How many decoding processes this one has started that still live; Linux only."""
    me = os.getpid()
    n_decoders = 0
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            n_decoders += parent == me and b"tagcli.audio.workers" in (place / "cmdline").read_bytes()
        except OSError:
            continue
    return n_decoders
