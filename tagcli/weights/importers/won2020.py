"""FCN, CRNN and musicnn of Won et al. 2020 as their authors saved them: a state dict that holds its own front end.

Won, Ferraro, Bogdanov, Serra, "Evaluation of CNN-based automatic music tagging models" (2020). Spectrogram and filter
bank are torchaudio's of that year; its filter bank differs from one computed today by up to 1.3e-5, so the stored one
is kept.
"""

from pathlib import Path

import torch

from tagcli.audio.clips import ClipRule
from tagcli.checkpoint import CheckpointHeader, Provenance
from tagcli.errors import CheckpointError
from tagcli.features.config import FrontEndConfig
from tagcli.models.config import ConvNetConfig, CrnnConfig
from tagcli.models.musicnn_config import MusicnnConfig
from tagcli.tags import Vocabulary
from tagcli.weights.importers.layout import check_layout

FRONT_END = FrontEndConfig(
    sample_rate=16_000,
    padding="reflect",
    fmax=8_000.0,
    mel_scale="htk",
    mel_norm="none",
    filter_bank="stored",
    normalisation="batch_norm",
)
CLIP = ClipRule(n_samples=29 * FRONT_END.sample_rate, short="repeat")
MUSICNN_CLIP = ClipRule(n_samples=3 * FRONT_END.sample_rate, short="repeat")

WINDOW_TOLERANCE = 1e-6
"""A few float32 steps near 1: libraries differ in how they evaluate the cosine."""

_WINDOW, _FILTER_BANK, _INPUT_NORM = "spec.spectrogram.window", "spec.mel_scale.fb", "spec_bn"
_NORM_PARTS = ("weight", "bias", "running_mean", "running_var")
_COUNTER = "num_batches_tracked"

Architecture = ConvNetConfig | CrnnConfig | MusicnnConfig


def convert_won2020(
    source: Path, *, architecture: Architecture, name: str, vocabulary: Vocabulary, provenance: Provenance
) -> tuple[CheckpointHeader, dict[str, torch.Tensor]]:
    """Read a ``best_model.pth``, whatever it was trained on.

    Parameters
    ----------
    source
        The file; it is unpickled with tensors only, so that nothing in it is executed.
    architecture
        Of the network that it is to hold.
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
    stored = _load(source)
    check_layout(
        source,
        {key: (tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")) for key, tensor in stored.items()},
        _layout(architecture),
    )
    for key, tensor in stored.items():
        if not bool(torch.isfinite(tensor).all()):
            msg = f"The tensor {key} of {source} holds values that are not finite; the file is no use as weights."
            raise CheckpointError(msg, path=source)
    difference = float((stored[_WINDOW] - torch.hann_window(FRONT_END.n_fft, periodic=True)).abs().max())
    if difference > WINDOW_TOLERANCE:
        msg = (
            f"The window {_WINDOW} of {source} is not the periodic Hann window (it differs by {difference:.1e}); "
            "a model with another front end cannot be imported."
        )
        raise CheckpointError(msg, path=source)

    header = CheckpointHeader(
        name=name,
        front_end=FRONT_END,
        clip=MUSICNN_CLIP if isinstance(architecture, MusicnnConfig) else CLIP,
        architecture=architecture,
        vocabulary=vocabulary,
        provenance=provenance,
    )
    renamed = {key: _rename(key, architecture) for key in stored if key != _WINDOW}
    tensors = {new: stored[key].detach().clone() for key, new in renamed.items()}
    bank = renamed[_FILTER_BANK]
    tensors[bank] = tensors[bank].T.contiguous()  # (n_bins, n_mels) as published
    return header, tensors


def _load(source: Path) -> dict[str, torch.Tensor]:
    try:
        stored = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # the restricted unpickler raises whatever damaged bytes lead it to
        msg = f"{source} cannot be read as a PyTorch state dict ({_first_line(error)}); check which file it is."
        raise CheckpointError(msg, path=source) from error
    if not isinstance(stored, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) and value.layout == torch.strided
        for key, value in stored.items()
    ):
        msg = f"{source} is not a state dict of named tensors; give a best_model.pth as it was published."
        raise CheckpointError(msg, path=source)
    return stored


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].strip().rstrip(".")


def _layout(architecture: Architecture) -> dict[str, tuple[tuple[int, ...], str]]:
    layout: dict[str, tuple[tuple[int, ...], str]] = {
        _WINDOW: ((FRONT_END.n_fft,), "float32"),
        _FILTER_BANK: ((FRONT_END.n_fft // 2 + 1, FRONT_END.n_mels), "float32"),
        **_norm_layout(_INPUT_NORM, 1),
    }
    if isinstance(architecture, MusicnnConfig):
        return {**layout, **_musicnn_layout(architecture)}
    n_inputs = 1
    for number, n_maps in enumerate(architecture.channels, start=1):
        layout.update(_conv_layout(f"layer{number}", (n_maps, n_inputs, 3, 3)))
        n_inputs = n_maps
    n_inputs = architecture.n_features
    if isinstance(architecture, CrnnConfig):
        gru, n_units = f"layer{len(architecture.channels) + 1}", architecture.n_gru_units
        for layer in range(architecture.n_gru_layers):
            layout[f"{gru}.weight_ih_l{layer}"] = ((3 * n_units, n_inputs), "float32")  # of reset, update, candidate
            layout[f"{gru}.weight_hh_l{layer}"] = ((3 * n_units, n_units), "float32")
            layout[f"{gru}.bias_ih_l{layer}"] = layout[f"{gru}.bias_hh_l{layer}"] = ((3 * n_units,), "float32")
            n_inputs = n_units
    return {**layout, **_dense_layout("dense", architecture.n_tags, n_inputs)}


def _musicnn_layout(config: MusicnnConfig) -> dict[str, tuple[tuple[int, ...], str]]:
    layout: dict[str, tuple[tuple[int, ...], str]] = {}
    branches = [
        *((config.n_vertical, 1, n_bands, config.vertical_frames) for n_bands in config.vertical_bands),
        *((config.n_horizontal, 1, n_frames) for n_frames in config.horizontal_frames),
    ]
    for index, shape in enumerate(branches):
        layout.update(_conv_layout(f"layers.{index}", shape))
    n_inputs = config.n_front
    for number in range(1, config.n_middle_layers + 1):
        layout.update(_conv_layout(f"layer{number}", (config.n_middle, n_inputs, config.middle_frames)))
        n_inputs = config.n_middle
    return {
        **layout,
        **_dense_layout("dense1", config.n_hidden, config.n_features),
        **_norm_layout("bn", config.n_hidden),
        **_dense_layout("dense2", config.n_tags, config.n_hidden),
    }


def _conv_layout(prefix: str, shape: tuple[int, ...]) -> dict[str, tuple[tuple[int, ...], str]]:
    return {
        f"{prefix}.conv.weight": (shape, "float32"),
        f"{prefix}.conv.bias": (shape[:1], "float32"),
        **_norm_layout(f"{prefix}.bn", shape[0]),
    }


def _dense_layout(prefix: str, n_outputs: int, n_inputs: int) -> dict[str, tuple[tuple[int, ...], str]]:
    return {f"{prefix}.weight": ((n_outputs, n_inputs), "float32"), f"{prefix}.bias": ((n_outputs,), "float32")}


def _norm_layout(prefix: str, n_maps: int) -> dict[str, tuple[tuple[int, ...], str]]:
    parts: dict[str, tuple[tuple[int, ...], str]] = {f"{prefix}.{part}": ((n_maps,), "float32") for part in _NORM_PARTS}
    return {**parts, f"{prefix}.{_COUNTER}": ((), "int64")}


def _rename(key: str, architecture: Architecture) -> str:
    """Translate the authors' name of a tensor into the tagger's."""
    if key == _FILTER_BANK:
        return "front_end.mel_filter_bank"
    layer, _, rest = key.partition(".")
    if layer == _INPUT_NORM:
        return f"front_end.input_norm.{rest}"
    if isinstance(architecture, MusicnnConfig):
        return _rename_of_musicnn(layer, rest)
    if layer == "dense":
        return f"model.dense.{rest}"
    if rest.startswith(("conv.", "bn.")):
        return f"model.blocks.{int(layer.removeprefix('layer')) - 1}.{rest.replace('bn.', 'norm.')}"
    return f"model.gru.{rest}"


def _rename_of_musicnn(layer: str, rest: str) -> str:
    """Do so for a musicnn, whose branches (``layers``) are the tagger's first block and whose ``layer1`` the second."""
    whole = {"bn": "model.hidden.norm", "dense1": "model.hidden.layer", "dense2": "model.dense"}
    if layer in whole:
        return f"{whole[layer]}.{rest}"
    block = "0" if layer == "layers" else layer.removeprefix("layer")
    return f"model.blocks.{block}.{rest.replace('conv.', 'layer.').replace('bn.', 'norm.')}"
