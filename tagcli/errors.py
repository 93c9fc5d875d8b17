"""The error tree, the codes that rows carry, and the exit codes.

TagcliError
├── AudioError            a track cannot be decoded; carries a `FailureCode`
├── DecoderError          no track can be decoded: a process for it does not start
├── MetadataError         a file's metadata cannot be read, planned or written
│   └── UnsupportedContainerError   the container or tag version is not one that tagcli writes
├── JournalError          the old version of a file cannot be stored, or not be put back
├── CheckpointError       a checkpoint file is missing, damaged or of an unknown format
├── WeightsError          a model name is unknown, not here yet, or its download cannot be trusted
├── DeviceError           the device asked for is not there
├── CollectionError       no audio was found
├── OutputError           a results file cannot be written
├── ResultsError          a results file cannot be read, or not merged with another
├── StoreError            the cache cannot be used
├── DatasetError          a data set, its labels or its cache of waveforms cannot be used, or do not fit together
├── TrainingError         a training cannot begin, go on or end well
└── ConfigurationError    the user's configuration file cannot be used

Every message is one sentence that names the file and says what to do. Third-party exceptions are
translated once, where the library is called.
"""

from enum import IntEnum, StrEnum
from pathlib import Path


class ExitCode(IntEnum):
    """What the program tells the shell."""

    DONE = 0
    ERROR = 1
    USAGE = 2
    SOME_FAILED = 3
    INTERRUPTED = 130


class FailureCode(StrEnum):
    """Why a track has no tags, or why its tags are not in its file."""

    EMPTY = "empty"
    NOT_AUDIO = "not_audio"
    NO_AUDIO_STREAM = "no_audio_stream"
    ZERO_RATE = "zero_rate"
    UNREADABLE = "unreadable"
    MISSING = "missing"
    TOO_SHORT = "too_short"
    WRITE_FAILED = "write_failed"


class SkipCode(StrEnum):
    """Why a track was passed over without being a failure."""

    SILENT = "silent"


class WarningCode(StrEnum):
    """What was wrong with a track that was tagged all the same."""

    TRUNCATED = "truncated"
    DAMAGED = "damaged"
    PADDED = "padded"


class TagcliError(Exception):
    """Base of everything that tagcli raises on purpose.

    Parameters
    ----------
    message
        One sentence that names the file and says what to do.
    path
        The file concerned, when there is one.
    """

    def __init__(self, message: str, *, path: Path | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.path = path


class AudioError(TagcliError):
    """A track that cannot be decoded.

    Parameters
    ----------
    message
        One sentence that names the file and says what to do.
    path
        The track.
    code
        The reason, as rows carry it.
    is_passing
        Whether another try may end otherwise although the audio bytes are the same: the system was in the way.
    """

    def __init__(self, message: str, *, path: Path, code: FailureCode, is_passing: bool = False) -> None:
        super().__init__(message, path=path)
        self.code = code
        self.is_passing = is_passing


class DecoderError(TagcliError):
    """A process for decoding that does not start."""


class MetadataError(TagcliError):
    """Metadata that cannot be read, planned or written."""


class FileBusyError(MetadataError):
    """Another process is writing the file, or has just written it."""


class UnsupportedContainerError(MetadataError):
    """A container or tag version that tagcli does not write."""


class JournalError(TagcliError):
    """The old version of a file that cannot be stored, or cannot be put back."""


class CheckpointError(TagcliError):
    """A checkpoint that is missing, damaged or of an unknown format."""


class WeightsError(TagcliError):
    """Weights that are unknown, not here yet, or not the bytes that were pinned."""


class DeviceError(TagcliError):
    """A device that was asked for and is not there."""


class CollectionError(TagcliError):
    """A collection without audio."""


class OutputError(TagcliError):
    """A results file that cannot be written."""


class ResultsError(TagcliError):
    """A results file that cannot be read, or not merged with another."""


class ConfigurationError(TagcliError):
    """A configuration file that cannot be read, or that names what there is not."""


class StoreError(TagcliError):
    """A cache that cannot be opened, read or written."""


class DatasetError(TagcliError):
    """A data set, its labels or its cache of waveforms that cannot be used, or that do not fit together."""


class TrainingError(TagcliError):
    """A training that cannot begin, go on or end well."""
