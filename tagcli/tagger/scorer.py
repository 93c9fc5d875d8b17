"""Score clips on a device: at once in the thread that asks on a CPU, gathered into batches for a GPU.

On a CPU each worker scores one clip at a time, which stays in its cache. On a GPU the clips of all workers are
copied into pinned batches; two threads for each GPU, each with a stream of its own, so that one batch is copied while
the other is computed.
"""

import copy
import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from tagcli.audio.sources import Waveform
from tagcli.errors import DeviceError
from tagcli.tagger.device import choose_half
from tagcli.tagger.module import TaggerModule
from tagcli.tagger.track_sum import ClipScores

logger = logging.getLogger(__name__)

Deliver = Callable[[ClipScores], None]
"""Is given the scores of one clip."""

CPU_BATCH_SIZE = 1
GPU_BATCH_SIZE = 64
_STREAMS = 2  # for each GPU
_SPARE_BATCHES = 1  # filled while those are in work


class Scorer(Protocol):
    """Takes clips, and delivers their scores."""

    batch_size: int

    def score(self, clips: Sequence[tuple[Waveform, Deliver]]) -> None:
        """Take clips [shape=(clip_samples,) each], each with where its scores go, from any thread.

        The arrays may be used again afterwards.
        """

    def close(self) -> None:
        """Stop, whatever waits."""


def open_scorer(
    module: TaggerModule,
    device: torch.device,
    *,
    batch_size: int | None,
    half: bool,
    with_embeddings: bool,
    on_error: Callable[[BaseException], None],
) -> Scorer:
    """Make the scorer that suits a device.

    Parameters
    ----------
    module
        On the device.
    device
        ``cuda`` without a number stands for every GPU that there is.
    batch_size
        Clips at a time; None for the number that suits the device.
    half
        Whether the network runs in half precision; see `tagcli.tagger.device.choose_half`.
    with_embeddings
        Whether they are computed.
    on_error
        Told what stops the scorer's own threads.

    Raises
    ------
    DeviceError
        When half precision is asked for on a CPU that is slower with it.
    """
    if device.type == "cpu":
        module = copy.deepcopy(module).halve(choose_half(device)) if half else module
        return CpuScorer(module, batch_size=batch_size, with_embeddings=with_embeddings)
    is_any_gpu = device == torch.device("cuda")  # cuda:0 is another
    devices = [torch.device("cuda", index) for index in range(torch.cuda.device_count())] if is_any_gpu else [device]
    modules = [copy.deepcopy(module).to(each) for each in devices]
    modules = [each.halve(choose_half(device)) for each in modules] if half else modules
    for each in devices if device.type == "cuda" else ():
        torch.cuda.synchronize(each)  # the scorer's streams do not wait for the copies of the weights
    return BatchScorer(
        modules,
        clip_samples=module.header.clip.n_samples,
        batch_size=batch_size,
        with_embeddings=with_embeddings,
        on_error=on_error,
    )


class CpuScorer:
    """Scores in the thread that asks, with one thread of torch's for each.

    Parameters
    ----------
    module
        On the CPU.
    batch_size
        Clips at a time; None for the fastest number.
    with_embeddings
        Whether they are computed.
    """

    def __init__(self, module: TaggerModule, *, batch_size: int | None, with_embeddings: bool) -> None:
        self.batch_size = CPU_BATCH_SIZE if batch_size is None else batch_size
        self._module = module
        self._with_embeddings = with_embeddings
        self._here = threading.local()

    def score(self, clips: Sequence[tuple[Waveform, Deliver]]) -> None:
        """See `Scorer.score`."""
        if not hasattr(self._here, "is_ready"):
            torch.set_num_threads(1)  # each thread has its own number
            self._here.is_ready = True
        for start in range(0, len(clips), self.batch_size):
            batch = clips[start : start + self.batch_size]
            waveforms = batch[0][0][np.newaxis] if len(batch) == 1 else np.stack([waveform for waveform, _ in batch])
            scores = _to_arrays(self._module.score(torch.from_numpy(waveforms), with_embeddings=self._with_embeddings))
            for row, (_, deliver) in enumerate(batch):
                deliver(scores.row(row))

    def close(self) -> None:
        """Have threads that are yet to come begin with as many of torch's as this one has."""
        torch.set_num_threads(torch.get_num_threads())


class _Batch:
    """Clips that are copied, scored and delivered together."""

    def __init__(self, n_clips: int, clip_samples: int, *, is_pinned: bool) -> None:
        self.waveforms = torch.empty((n_clips, clip_samples), dtype=torch.float32, pin_memory=is_pinned)
        self.receivers: list[Deliver] = []
        self.n_copied = 0


class BatchScorer:
    """Gathers the clips of all workers into batches, and scores them on one device or more.

    Parameters
    ----------
    modules
        One for each device, on it.
    clip_samples
        Length of a clip.
    batch_size
        Clips at a time; None for what suits a GPU. It is halved for as long as the device's memory does not suffice.
    with_embeddings
        Whether they are computed.
    on_error
        Told what stops the scoring.
    """

    def __init__(
        self,
        modules: Sequence[TaggerModule],
        *,
        clip_samples: int,
        batch_size: int | None,
        with_embeddings: bool,
        on_error: Callable[[BaseException], None],
    ) -> None:
        self.batch_size = GPU_BATCH_SIZE if batch_size is None else batch_size
        self._with_embeddings = with_embeddings
        self._on_error = on_error
        self._changed = threading.Condition()
        self._is_stopped = False
        devices = [next(module.buffers()).device for module in modules]
        is_pinned = all(device.type == "cuda" for device in devices)
        n_streams = _STREAMS if is_pinned else 1
        n_batches = n_streams * len(modules) + _SPARE_BATCHES
        self._free = [_Batch(self.batch_size, clip_samples, is_pinned=is_pinned) for _ in range(n_batches)]
        self._filling = self._free.pop()
        self._threads = [
            threading.Thread(target=self._work, args=(module, device), name=f"tagcli-{device}-{number}", daemon=True)
            for number in range(n_streams)
            for module, device in zip(modules, devices, strict=True)
        ]
        for thread in self._threads:
            thread.start()

    def score(self, clips: Sequence[tuple[Waveform, Deliver]]) -> None:
        """See `Scorer.score`; waits while every batch is full."""
        for waveform, deliver in clips:
            with self._changed:
                self._changed.wait_for(lambda: self._is_stopped or self._has_room())
                if self._is_stopped:
                    msg = "the scorer has stopped"
                    raise RuntimeError(msg)
                batch = self._filling
                row = len(batch.receivers)
                batch.receivers.append(deliver)
            batch.waveforms[row].copy_(torch.from_numpy(waveform))
            with self._changed:
                batch.n_copied += 1
                self._changed.notify_all()

    def close(self) -> None:
        """Stop the threads; what they have in work is finished, what waits is not begun."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _has_room(self) -> bool:
        """Tell whether the batch that is being filled takes another clip."""
        return len(self._filling.receivers) < self.batch_size

    def _take(self) -> _Batch | None:
        """Wait for clips, and take what there is: whoever waits here has an idle device."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_stopped or (self._free and 0 < len(self._filling.receivers) == self._filling.n_copied)
            )
            if self._is_stopped:
                return None
            batch, self._filling = self._filling, self._free.pop()
            self._changed.notify_all()
            return batch

    def _give_back(self, batch: _Batch) -> None:
        """Make an empty batch of a scored one."""
        batch.receivers.clear()
        batch.n_copied = 0
        with self._changed:
            self._free.append(batch)
            self._changed.notify_all()

    def _work(self, module: TaggerModule, device: torch.device) -> None:
        """Score batches until it is over."""
        try:
            with _stream_of(device):
                while (batch := self._take()) is not None:
                    n_clips = len(batch.receivers)
                    scores = self._score(module, batch.waveforms[:n_clips], device)
                    for row, deliver in enumerate(batch.receivers):
                        deliver(scores.row(row))
                    self._give_back(batch)
        except BaseException as error:  # handed to the thread that waits for results, before others complain of it
            self._on_error(error)
            with self._changed:
                self._is_stopped = True
                self._changed.notify_all()

    def _score(self, module: TaggerModule, waveforms: Tensor, device: torch.device) -> ClipScores:
        """Score a batch; in halves when the device's memory does not suffice.

        Raises
        ------
        DeviceError
            When it does not suffice for one clip.
        """
        on_device: Tensor | None = None
        try:
            on_device = waveforms.to(device, non_blocking=True)
            return _to_arrays(module.score(on_device, with_embeddings=self._with_embeddings))
        except torch.OutOfMemoryError as error:
            if len(waveforms) == 1:
                msg = f"The memory of {device} does not suffice for one clip; free some, or use --device cpu."
                raise DeviceError(msg) from error
        del on_device  # or it would take its part of the memory while the halves are tried
        if device.type == "cuda":
            torch.cuda.empty_cache()
        half = len(waveforms) // 2
        with self._changed:
            if half < self.batch_size:
                self.batch_size = half
                logger.warning("The memory of %s does not suffice; clips are scored %d at a time.", device, half)
        parts = [
            self._score(module, waveforms[start : start + half], device) for start in range(0, len(waveforms), half)
        ]
        return ClipScores(
            scores=np.concatenate([part.scores for part in parts]),
            embeddings=tuple(map(np.concatenate, zip(*(part.embeddings for part in parts), strict=True))),
        )


def _stream_of(device: torch.device) -> AbstractContextManager[object]:
    """Give a thread a stream of its own, where a device has streams."""
    if device.type != "cuda":
        return nullcontext()
    torch.cuda.set_device(device)
    stream: AbstractContextManager[object] = torch.cuda.stream(torch.cuda.Stream(device))  # type: ignore[no-untyped-call]  # as torch
    return stream


def _to_arrays(output: "tuple[Tensor, list[Tensor]]") -> ClipScores:
    """Bring scores and embeddings to the CPU; waits for the device."""
    scores, embeddings = output
    return ClipScores(
        scores=scores.float().cpu().numpy(),
        embeddings=tuple(embedding.float().cpu().numpy() for embedding in embeddings),
    )
