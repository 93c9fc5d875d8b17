"""One reader per published format; each turns a file of foreign weights into a header and named tensors."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tagcli.checkpoint import CheckpointHeader, Provenance
from tagcli.models.config import crnn_config, fcn_config
from tagcli.models.musicnn_config import musicnn_config
from tagcli.tags import Vocabulary
from tagcli.weights.entries import Importer

if TYPE_CHECKING:
    import torch


def convert(
    source: Path, importer: Importer, *, name: str, vocabulary: Vocabulary, provenance: Provenance
) -> "tuple[CheckpointHeader, dict[str, torch.Tensor]]":
    """Read a published file; the same file gives the same tensors.

    Parameters
    ----------
    source
        The file.
    importer
        Its format.
    name, vocabulary, provenance
        What the checkpoint is called, what its outputs mean and where it comes from: the file does not say.

    Raises
    ------
    CheckpointError
        When the file cannot be read or is not laid out as the format says.
    """
    match importer:
        case "won2020-fcn" | "won2020-crnn" | "won2020-musicnn":
            from tagcli.weights.importers.won2020 import Architecture, convert_won2020

            figures: dict[Importer, Callable[..., Architecture]] = {
                "won2020-fcn": fcn_config,
                "won2020-crnn": crnn_config,
                "won2020-musicnn": musicnn_config,
            }
            architecture = figures[importer](n_tags=len(vocabulary))
            return convert_won2020(
                source, architecture=architecture, name=name, vocabulary=vocabulary, provenance=provenance
            )
        case "choi2016":
            from tagcli.weights.importers.choi2016 import convert_choi2016

            return convert_choi2016(source, name=name, vocabulary=vocabulary, provenance=provenance)
        case "keras2":
            from tagcli.weights.importers.keras2 import convert_keras2

            return convert_keras2(source, name=name, vocabulary=vocabulary, provenance=provenance)
        case "compact-theano":
            from tagcli.weights.importers.compact_theano import convert_compact_theano

            return convert_compact_theano(source, name=name, vocabulary=vocabulary, provenance=provenance)
