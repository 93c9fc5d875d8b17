"""The tagger: a checkpoint ready to listen. Importing it costs little: torch comes with the first clip to be scored."""

import gc
import hashlib
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from tagcli.audio.clips import ClipChoice
from tagcli.audio.collection import find_tracks
from tagcli.audio.reading import ThreadReader
from tagcli.audio.workers import ProcessReader
from tagcli.checkpoint import CheckpointHeader, read_header
from tagcli.rows import Row, make_row
from tagcli.store import Store
from tagcli.tagger.crew import Stage, StageTimes
from tagcli.tagger.memory import Memory
from tagcli.tagger.pipeline import CLIPS_GATHERED, TagOptions, tag_tracks
from tagcli.tags import Failure, TrackScores
from tagcli.weights.calibrated import require_calibrated
from tagcli.weights.catalogue import default_weights, find_weights

if TYPE_CHECKING:
    import torch

    from tagcli.tagger.module import TaggerModule
    from tagcli.tagger.scorer import Scorer

__all__ = ["Memory", "Stage", "StageTimes", "TagOptions", "Tagger", "load_tagger", "open_tagger"]

_SWITCH_SECONDS = 1e-4  # between threads, while one of them imports torch; Python's own is 5e-3


@dataclass(frozen=True, kw_only=True)
class Tagger:
    """A checkpoint, and the device that it is to run on.

    Parameters
    ----------
    path
        The checkpoint file.
    header
        Configuration, vocabulary and provenance.
    sha256
        Of the file, in hexadecimal.
    device_name
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    """

    path: Path
    header: CheckpointHeader
    sha256: str
    device_name: str

    @cached_property
    def device(self) -> "torch.device":
        """The device, prepared.

        Raises
        ------
        DeviceError
            When there is no such device.
        """
        with _quick_import():
            from tagcli.tagger.device import choose_device, prepare_device

        device = choose_device(self.device_name)
        prepare_device(device)
        return device

    @cached_property
    def module(self) -> "TaggerModule":
        """Front end and network, on the device.

        Raises
        ------
        CheckpointError
            When the checkpoint is damaged.
        """
        device = self.device
        from tagcli.tagger.module import TaggerModule

        return TaggerModule.from_checkpoint(self.path).to(device)

    @property
    def device_description(self) -> str | None:
        """The device for people, such as ``cuda:0 (NVIDIA H200)``; None as long as nothing was scored."""
        if "device" not in self.__dict__:
            return None
        from tagcli.tagger.device import describe_device

        return describe_device(self.device)

    def remember(self, store: Store, options: TagOptions, *, retries_failures: bool = False) -> Memory:
        """Open what is remembered of this checkpoint under these options.

        Parameters
        ----------
        store
            Where it is kept.
        options
            How tracks are scored. Scores over time and embeddings are not remembered: these tracks are heard again.
        retries_failures
            Whether a track that failed is tried again.

        Raises
        ------
        StoreError
            When the store cannot be used.
        DeviceError
            When the device has no half precision, and it is asked for.
        """
        return Memory(
            store,
            model=self.header.name,
            sha256=self.sha256,
            settings=f"clips={options.clips}{self._describe_half() if options.half else ''}",
            retries_failures=retries_failures,
            only_keeps=options.with_taggram or options.with_embeddings,
        )

    def score(
        self,
        paths: Iterable[Path],
        options: TagOptions,
        *,
        memory: Memory | None = None,
        times: StageTimes | None = None,
    ) -> Generator[TrackScores | Failure, None, None]:
        """Score tracks; yields and raises what `tagcli.tagger.pipeline.tag_tracks` does.

        Parameters
        ----------
        paths
            The tracks; consumed as they are needed.
        options
            How.
        memory
            What is remembered, see `remember`; None for nothing.
        times
            Where to add up what the workers spend their time with.
        """
        is_for_gpu = _may_be_gpu(self.device_name)
        return tag_tracks(
            paths,
            make_reader=partial(
                ProcessReader if is_for_gpu else ThreadReader,
                sample_rate=self.header.front_end.sample_rate,
                rule=self.header.clip,
                choice=options.clips,
            ),
            open_scorer=lambda on_error: self._open_scorer(options, on_error),
            options=options,
            n_gathered=1 if is_for_gpu else CLIPS_GATHERED,
            memory=memory,
            times=times,
        )

    def _describe_half(self) -> str:
        """Name the half precision of the device, which another one may not have."""
        device = self.device
        from tagcli.tagger.device import choose_half

        return f" {choose_half(device)}".replace("torch.", "")

    def _open_scorer(self, options: TagOptions, on_error: Callable[[BaseException], None]) -> "Scorer":
        """Make the scorer that suits the device."""
        module = self.module
        from tagcli.tagger.scorer import open_scorer

        return open_scorer(
            module,
            self.device,
            batch_size=options.batch_size,
            half=options.half,
            with_embeddings=options.with_embeddings,
            on_error=on_error,
        )

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
    """Load a checkpoint onto a device, also one whose batch norms have no statistics yet (see `open_tagger`).

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
    tagger = _find_tagger(name, device)
    _ = tagger.module
    return tagger


def open_tagger(name: str | Path | None = None, *, device: str = "auto") -> Tagger:
    """Find a checkpoint and read its header; its device and tensors wait until something is to be scored.

    Takes and raises what `load_tagger` does, and besides

    Raises
    ------
    WeightsError
        When batch norms have no statistics: then each clip's own stand in for them, and scores mean little. What is
        wrong with device or tensors comes out later.
    """
    tagger = _find_tagger(name, device)
    require_calibrated(tagger.header, tagger.path)
    return tagger


def _find_tagger(name: str | Path | None, device: str) -> Tagger:
    """Find a checkpoint and read its header."""
    path = default_weights() if name is None else find_weights(str(name))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return Tagger(path=path, header=read_header(path), sha256=sha256, device_name=device)


def _may_be_gpu(device_name: str) -> bool:
    """Tell whether a GPU is to be fed, as far as that can be told without torch; a wrong guess costs time only."""
    if device_name == "auto":
        return any(Path("/dev").glob("nvidia[0-9]*"))
    return device_name.startswith("cuda")


@contextmanager
def _quick_import() -> Iterator[None]:
    """Import without the garbage collector, which finds nothing, and let other threads have their turn in time."""
    was_enabled, switch_seconds = gc.isenabled(), sys.getswitchinterval()
    gc.disable()
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(switch_seconds)
        if was_enabled:
            gc.enable()
