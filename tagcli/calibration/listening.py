"""Hear a collection for a calibration: who each track is by its audio bytes, and what the network is given of it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tagcli.audio.clips import ClipChoice, ClipRule
from tagcli.audio.reading import TrackClips
from tagcli.calibration.clip_maps import ClipMaps
from tagcli.errors import AudioError, FailureCode, MetadataError, SkipCode
from tagcli.features.log_mel import LogMel
from tagcli.payload import hash_payload
from tagcli.tagger.track_sum import SILENT_PEAK
from tagcli.tags import Failure

# 312 tracks gave 757 clips: with all of them scores moved by 0.001 in the mean, with another 100 tracks by 0.002
_MIDDLE = ClipChoice(count=1, middle=True)
_LEAST_SHARE = 0.9  # of a clip: what is less is left out


@dataclass(frozen=True, kw_only=True)
class Heard:
    """A track whose middle clip was heard.

    Parameters
    ----------
    row
        Which one of the collection.
    payload
        Hash of its audio bytes.
    number
        Of the clip's map among the `ClipMaps`.
    """

    row: int
    payload: str
    number: int


class Listener:
    """Makes maps of tracks; from any thread.

    Parameters
    ----------
    front_end
        What makes them.
    rule
        How long a clip is, and what becomes of a shorter track.
    maps
        Where they are kept.
    """

    def __init__(self, front_end: LogMel, rule: ClipRule, maps: ClipMaps) -> None:
        self._front_end, self._rule, self._maps = front_end, rule, maps

    def hear(self, row: int, path: Path) -> Heard | Failure:
        """Hear the middle clip of a track.

        Returns
        -------
        Heard or Failure
            The latter when it cannot be decoded, is too short, or silent.

        Raises
        ------
        StoreError
            When there is no space for its map.
        """
        sample_rate = self._front_end.config.sample_rate
        track = TrackClips(path, sample_rate=sample_rate, rule=self._rule, choice=_MIDDLE)
        try:
            (clip,) = track
            payload = hash_payload(path)
        except MetadataError as error:
            return Failure(path=path, code=FailureCode.UNREADABLE, message=error.message)
        except AudioError as error:
            return Failure(path=path, code=error.code, message=error.message)
        if track.n_samples < _LEAST_SHARE * self._rule.n_samples:
            message = f"{path} is shorter than a clip, and what is put in its place would count; it is left out."
            return Failure(path=path, code=FailureCode.TOO_SHORT, message=message)
        if float(np.abs(clip.waveform).max()) < SILENT_PEAK:
            message = f"{path} is silent where it was listened to; there is nothing to learn from it."
            return Failure(path=path, code=SkipCode.SILENT, message=message)
        with torch.inference_mode():
            log_mel = self._front_end(torch.from_numpy(clip.waveform)[None])[0]
        return Heard(row=row, payload=payload, number=self._maps.add(log_mel.numpy()))
