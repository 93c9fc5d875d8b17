"""One safetensors file that carries tensors, configuration, vocabulary and provenance.

The header is JSON and is read without torch; no pickle is involved anywhere.
"""

import dataclasses
import hashlib
import json
import os
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tagcli.artists import artist_key
from tagcli.audio.clips import ClipRule
from tagcli.errors import CheckpointError
from tagcli.features.config import FrontEndConfig
from tagcli.models.config import ModelConfig
from tagcli.tags import Vocabulary
from tagcli.typed import parse_typed

if TYPE_CHECKING:
    import torch

FORMAT_VERSION = 1
METADATA_KEY = "tagcli"
MAX_HEADER_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where weights come from.

    Parameters
    ----------
    source
        The published file, as its catalogue address or file name; or that tagcli trained them.
    source_sha256
        SHA-256 of the file, or the fingerprint of the data set that they were trained on, in hexadecimal.
    licence
        Licence statement of the weights.
    citation
        The paper.
    roc_auc, pr_auc
        Published macro figures, None where there are none.
    training_data
        What they were trained on.
    artists
        Whose music they were trained on, as `hash_artists` gives it; empty where that is not known.
    """

    source: str
    source_sha256: str
    licence: str
    citation: str
    training_data: str
    roc_auc: float | None = None
    pr_auc: float | None = None
    artists: tuple[str, ...] = ()


def hash_artists(artists: Iterable[str]) -> tuple[str, ...]:
    """Make names into what a checkpoint keeps of them: enough to know them again, too little to read them.

    Parameters
    ----------
    artists
        Names; those of one `artist_key` are of one artist, and nothing is nobody.

    Returns
    -------
    tuple of str
        The first 16 hexadecimal digits of each name's SHA-256, sorted, each once.
    """
    names = {artist_key(artist) for artist in artists} - {""}
    return tuple(sorted(hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:16] for name in names))


@dataclass(frozen=True, kw_only=True)
class CheckpointHeader:
    """Everything about a checkpoint but its tensors.

    Parameters
    ----------
    name
        Name of the model, such as ``won2020-msd-fcn``.
    front_end, clip, architecture, vocabulary
        What is needed to build the tagger.
    provenance
        Where the weights come from.
    thresholds
        Least score of a stored tag [shape=(n_tags,)]; None until calibrated.

    Raises
    ------
    ValueError
        When vocabulary, thresholds, front end and network do not fit together.
    """

    name: str
    front_end: FrontEndConfig
    clip: ClipRule
    architecture: ModelConfig
    vocabulary: Vocabulary
    provenance: Provenance
    thresholds: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        n_tags = self.architecture.n_tags
        if len(self.vocabulary) != n_tags or (self.thresholds is not None and len(self.thresholds) != n_tags):
            msg = f"{self.name}: {n_tags} outputs want a vocabulary, and thresholds if any, of the same length"
            raise ValueError(msg)
        made_for = (self.architecture.n_mels, self.architecture.n_frames)
        given = (self.front_end.n_mels, self.front_end.n_frames(self.clip.n_samples))
        if given != made_for:
            msg = f"{self.name}: the front end makes a map of {given} of a clip, the network was made for {made_for}"
            raise ValueError(msg)

    def to_json(self) -> str:
        """Serialise, with the format version; the same header gives the same text."""
        return json.dumps({"format_version": FORMAT_VERSION, **dataclasses.asdict(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "CheckpointHeader":
        """Parse what `to_json` wrote.

        Raises
        ------
        ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError
            When the text is not such a header.
        """
        fields = json.loads(text)
        version = fields.pop("format_version")
        if version != FORMAT_VERSION:
            msg = f"format version {version} is not {FORMAT_VERSION}, the one that this tagcli reads"
            raise ValueError(msg)
        header: CheckpointHeader = parse_typed(cls, fields)
        return header


def read_header(path: Path) -> CheckpointHeader:
    """Read a checkpoint's header; needs no torch.

    Parameters
    ----------
    path
        A ``.safetensors`` file written by `save_checkpoint`.

    Raises
    ------
    CheckpointError
        When the file is missing, not safetensors, not of tagcli, or of another format version.
    """
    try:
        with path.open("rb") as file:
            prefix = file.read(8)
            length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
            if not 2 <= length <= MAX_HEADER_BYTES:
                msg = f"{path} is not a safetensors file; give a checkpoint written by tagcli."
                raise CheckpointError(msg, path=path)
            raw = json.loads(file.read(length))
    except OSError as error:
        msg = f"The checkpoint {path} cannot be read ({error.strerror}); check the path."
        raise CheckpointError(msg, path=path) from error
    except (ValueError, RecursionError) as error:
        msg = f"{path} is not a safetensors file; give a checkpoint written by tagcli."
        raise CheckpointError(msg, path=path) from error
    metadata = raw.get("__metadata__") if isinstance(raw, dict) else None
    text = metadata.get(METADATA_KEY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        msg = f"{path} holds tensors but no tagcli header; import it with `tagcli weights import`."
        raise CheckpointError(msg, path=path)
    try:
        return CheckpointHeader.from_json(text)
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        msg = f"The header of {path} cannot be understood ({error}); it needs another version of tagcli."
        raise CheckpointError(msg, path=path) from error


def load_tensors(path: Path) -> "dict[str, torch.Tensor]":
    """Load a checkpoint's tensors onto the CPU.

    Raises
    ------
    CheckpointError
        When the file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(path.read_bytes())  # not by path: safetensors takes none that is not UTF-8
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        msg = f"The tensors of {path} cannot be read ({error}); fetch the checkpoint again."
        raise CheckpointError(msg, path=path) from error


def load_array(path: Path, name: str) -> npt.NDArray[np.floating]:
    """Load one tensor of a checkpoint as an array; needs no torch.

    Parameters
    ----------
    path
        A ``.safetensors`` file.
    name
        Of the tensor, such as ``model.dense.weight``.

    Raises
    ------
    CheckpointError
        When the file is missing or damaged, or has no such tensor.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        array: npt.NDArray[np.floating] = load(path.read_bytes())[name]
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        msg = f"The tensor {name} of {path} cannot be read ({error}); fetch the checkpoint again."
        raise CheckpointError(msg, path=path) from error
    return array


def save_checkpoint(path: Path, header: CheckpointHeader, tensors: "Mapping[str, torch.Tensor]") -> None:
    """Write a checkpoint, whole or not at all; the same content gives the same bytes.

    Parameters
    ----------
    path
        The ``.safetensors`` file; its folder must exist.
    header
        Configuration, vocabulary, provenance.
    tensors
        ``front_end.*`` of `tagcli.features.log_mel.LogMel`, and ``model.*`` of the network that
        `tagcli.models.forms.build_model` builds.

    Raises
    ------
    CheckpointError
        When the file cannot be written.
    """
    from safetensors.torch import save

    content = save({name: tensor.contiguous() for name, tensor in tensors.items()}, {METADATA_KEY: header.to_json()})
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        msg = f"The checkpoint {path} cannot be written ({error.strerror}); check the folder and its free space."
        raise CheckpointError(msg, path=path) from error
    finally:
        temporary.unlink(missing_ok=True)  # also when interrupted; after the replacement nothing is there
