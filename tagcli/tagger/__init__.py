"""The tagger: a checkpoint ready to listen, on a device."""

import hashlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from tagcli.audio.clips import ClipChoice
from tagcli.audio.collection import find_tracks
from tagcli.checkpoint import CheckpointHeader
from tagcli.rows import Row, make_row
from tagcli.tagger.device import choose_device, describe_device, prepare_device
from tagcli.tagger.module import ClipScores, TaggerModule
from tagcli.tagger.pipeline import TagOptions, tag_tracks
from tagcli.tags import Failure, TrackScores
from tagcli.weights.catalogue import default_weights, find_weights

__all__ = ["ClipScores", "TagOptions", "Tagger", "TaggerModule", "describe_device", "load_tagger"]


@dataclass(frozen=True, kw_only=True)
class Tagger:
    """A checkpoint on a device.

    Parameters
    ----------
    module
        Front end and model.
    device
        Where they are.
    sha256
        Of the checkpoint file, in hexadecimal.
    """

    module: TaggerModule
    device: torch.device
    sha256: str

    @property
    def header(self) -> CheckpointHeader:
        """Configuration, vocabulary and provenance."""
        return self.module.header

    def score(self, paths: Iterable[Path], options: TagOptions) -> Generator[TrackScores | Failure, None, None]:
        """Score tracks; see `tagcli.tagger.pipeline.tag_tracks`."""
        return tag_tracks(self.module, paths, device=self.device, options=options)

    def tag(
        self,
        paths: str | Path | Iterable[str | Path],
        *,
        top_n: int = 5,
        threshold: float = 0.0,
        clips: str = "all",
        exclude: Sequence[str] = (),
        options: TagOptions | None = None,
    ) -> Iterator[Row]:
        """Tag files and folders; nothing is written.

        Parameters
        ----------
        paths
            Files and folders; folders are searched.
        top_n
            How many tags a track gets at most.
        threshold
            Least score of a tag, in [0, 1].
        clips
            ``all``, ``middle`` or a number.
        exclude
            Shell patterns of files and folders to leave out.
        options
            Workers and batches; its `clips` gives way to the argument.

        Yields
        ------
        Row
            One for each track, in the order of discovery.

        Examples
        --------
        >>> tagger = load_tagger("won2020-msd-fcn")  # doctest: +SKIP
        >>> for row in tagger.tag(["music/"]):  # doctest: +SKIP
        ...     print(row.path, [tag.tag for tag in row.tags])
        """
        roots = [paths] if isinstance(paths, str | Path) else paths
        chosen = replace(options or TagOptions(), clips=ClipChoice.parse(clips))
        for result in self.score(find_tracks(roots, exclude=exclude), chosen):
            yield make_row(result, self.header.vocabulary, top_n=top_n, thresholds=threshold)


def load_tagger(name: str | Path | None = None, *, device: str = "auto") -> Tagger:
    """Load a checkpoint onto a device.

    Parameters
    ----------
    name
        Catalogue name, path of a ``.safetensors`` file, or folder of a training run; None for the bundled default.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises
    ------
    WeightsError
        When there are no such weights here; the message says how to get them.
    CheckpointError
        When the checkpoint is damaged.
    DeviceError
        When there is no such device.
    """
    path = default_weights() if name is None else find_weights(str(name))
    chosen = choose_device(device)
    prepare_device(chosen)
    module = TaggerModule.from_checkpoint(path).to(chosen)
    return Tagger(module=module, device=chosen, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
