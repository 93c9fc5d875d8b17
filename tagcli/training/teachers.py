"""Checkpoints that a student learns from: what they say of music, each in its own way of hearing it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from tagcli.audio.clips import ClipChoice
from tagcli.checkpoint import CheckpointHeader, read_header
from tagcli.datasets.audio import ExampleAudio, ResampledAudio
from tagcli.errors import TrainingError
from tagcli.evaluation import match_tags
from tagcli.evaluation.pairing import N_TOP_LABELS, find_logits, mark_best
from tagcli.evaluation.scoring import score_examples
from tagcli.files import hash_file
from tagcli.tagger.module import TaggerModule
from tagcli.training.teaching import TeachersPrecision
from tagcli.weights.calibrated import require_calibrated

Scores = npt.NDArray[np.float32]


class Teachers:
    """The teachers of a student, with one vocabulary: the tags of the first, then what the others know besides.

    Parameters
    ----------
    paths
        Their checkpoints.
    device
        Where they run.

    Attributes
    ----------
    headers
        Of each.
    sha256s
        Of the files.
    tags
        What a student learns from them.
    sample_rate
        The highest one that one of them hears, in Hz.
    n_outputs
        Of all of them together.

    Raises
    ------
    CheckpointError
        When a checkpoint cannot be read.
    TrainingError
        When two of them are the same.
    WeightsError
        When one has batch norms without statistics.
    """

    def __init__(self, paths: Sequence[Path], device: torch.device) -> None:
        self._paths, self._device = paths, device
        self._modules: dict[TeachersPrecision, list[TaggerModule]] = {}
        self.headers: list[CheckpointHeader] = [read_header(path) for path in paths]
        for header, path in zip(self.headers, paths, strict=True):
            require_calibrated(header, path)
        self.sha256s = [hash_file(path) for path in paths]
        for number, sha256 in enumerate(self.sha256s):
            if sha256 in self.sha256s[:number]:
                first = paths[self.sha256s.index(sha256)]
                msg = f"{first} and {paths[number]} are the same weights; name each teacher once."
                raise TrainingError(msg, path=paths[number])
        self.sample_rate = max(header.front_end.sample_rate for header in self.headers)
        self.n_outputs = sum(len(header.vocabulary) for header in self.headers)
        self.tags: tuple[str, ...] = ()
        for header in self.headers:
            self.tags += match_tags(self.tags, header.vocabulary.tags).only_system

    def hear(
        self,
        audio: ExampleAudio,
        *,
        choice: ClipChoice,
        rows: Sequence[int] | None = None,
        precision: TeachersPrecision = "float32",
        n_workers: int,
    ) -> Scores:
        """Have each of them score examples, cut as it wants them.

        Parameters
        ----------
        audio
            The examples, at any rate.
        choice
            Which clips of an example.
        rows
            Which examples; None for all.
        precision
            Arithmetic of their networks.
        n_workers
            Examples in work at a time.

        Returns
        -------
        numpy.ndarray
            [shape=(n_examples, n_outputs)], in [0, 1], one teacher's scores after the other's; a row of nan where an
            example cannot be heard.
        """
        if precision not in self._modules:
            modules = [TaggerModule.from_checkpoint(path).to(self._device) for path in self._paths]
            is_half = precision == "bfloat16"
            self._modules[precision] = [each.halve(torch.bfloat16) for each in modules] if is_half else modules
        return np.concatenate(
            [
                score_examples(
                    module,
                    ResampledAudio(audio, module.header.front_end.sample_rate),
                    choice=choice,
                    rows=rows,
                    n_workers=n_workers,
                )
                for module in self._modules[precision]
            ],
            axis=1,
        )

    def average(self, scores: Scores, shares: Sequence[float] = ()) -> Scores:
        """Make one opinion of several: the mean logit of each tag over the teachers that know it.

        Parameters
        ----------
        scores
            [shape=(n_examples, n_outputs)], as `hear` gives them.
        shares
            How much each of them has to say; none for equal shares.

        Returns
        -------
        numpy.ndarray
            Logits [shape=(n_examples, n_tags)].
        """
        logits = find_logits(scores)
        total, voices = np.zeros((len(scores), len(self.tags))), np.zeros(len(self.tags))
        first = 0
        for header, share in zip(self.headers, shares or (1.0,) * len(self.headers), strict=True):
            own = header.vocabulary.tags
            match = match_tags(self.tags, own)
            columns = [self.tags.index(tag) for tag in match.dataset_tags]
            total[:, columns] += share * logits[:, [first + own.index(tag) for tag in match.system_tags]]
            voices[columns] += share
            first += len(own)
        return (total / voices).astype(np.float32)


def find_top(logits: Scores) -> npt.NDArray[np.bool_]:
    """Mark the best tags of each example [shape=(n_examples, n_tags)]: `N_TOP_LABELS`, at most half of them."""
    return mark_best(logits, max(1, min(N_TOP_LABELS, logits.shape[1] // 2)))
