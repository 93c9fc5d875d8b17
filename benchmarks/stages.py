"""Time the stages of the corridor, one thread, round by round in one run.

    python benchmarks/stages.py --files 5 --rounds 5

decode      soundfile reads every sample (the floor that the others are compared with)
bare        the same without soundfile's seek after each block, which makes an mp3 decoder decode frames twice
downmix     by tagcli, at the file's own rate: mean of the channels; an mp3 is decoded by FFmpeg here
clips       resampled and cut into clips, too
front end   log-mel maps of these clips
model       the network on these maps

CPU milliseconds for each track, median and range over the rounds (of the mean over the tracks), and the ratio to
decoding within the round. The network has random weights.
"""

import argparse
import itertools
import tempfile
import time
from pathlib import Path

from harness import describe, make_checkpoint, make_files, print_machine, print_ratio


def time_track(path: Path, tagger: "Tagger") -> list[float]:  # noqa: F821
    """Pass one track through, stage by stage; milliseconds of each."""
    import numpy as np
    import soundfile
    import torch

    from tagcli.audio.clips import ClipChoice
    from tagcli.audio.decode import Track
    from tagcli.audio.reading import TrackClips
    from tagcli.audio.sources import SequentialFile

    header, module = tagger.header, tagger.module
    buffer = np.empty((65_536, 2), dtype=np.float32)
    marks = [time.process_time()]
    for kind in (soundfile.SoundFile, SequentialFile):
        with kind(path) as file:
            file_rate = file.samplerate
            while len(file.read(out=buffer)):
                pass
        marks.append(time.process_time())
    for _ in Track(path, file_rate).blocks():
        pass
    marks.append(time.process_time())
    rate = header.front_end.sample_rate
    clips = list(TrackClips(path, sample_rate=rate, rule=header.clip, choice=ClipChoice()))
    marks.append(time.process_time())
    log_mels = [module.front_end(torch.from_numpy(clip.waveform)[None]) for clip in clips]
    marks.append(time.process_time())
    for log_mel in log_mels:
        module.model(log_mel)
    marks.append(time.process_time())
    return [1000 * (end - start) for start, end in itertools.pairwise(marks)]


def main() -> None:
    """Time them."""
    import torch

    from tagcli.audio.quiet import quiet_decoders
    from tagcli.tagger import load_tagger

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--architecture", choices=("compact", "fcn", "crnn"), default="compact")
    parser.add_argument("--folder", type=Path, help="where the files are made and kept; a temporary one by default")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary, quiet_decoders(), torch.inference_mode():
        folder = (arguments.folder or Path(temporary)) / f"{arguments.files} files"
        minutes = make_files(folder, arguments.files) / 60
        checkpoint = Path(temporary) / "random.safetensors"
        make_checkpoint(checkpoint, arguments.architecture)
        tagger = load_tagger(checkpoint, device="cpu")
        paths = sorted(folder.glob("*.mp3"))
        rounds = []
        for _ in range(arguments.rounds + 1):
            tracks = [time_track(path, tagger) for path in paths]
            rounds.append([sum(column) / len(tracks) for column in zip(*tracks, strict=True)])
    decode, bare, downmix, clips, front_end, model = zip(*rounds[1:], strict=True)
    print_machine()
    print(f"{len(paths)} files, {minutes:.0f} minutes, {arguments.architecture}, {arguments.rounds} rounds")
    resample = [both - one for both, one in zip(clips, downmix, strict=True)]
    names = ("decode", "bare", "downmix", "clips", "front end", "model")
    for name, values in zip(names, zip(*rounds[1:], strict=True), strict=True):
        print(f"{name:12s} ms a track {describe(values)}")
    print_ratio("bare / decode", bare, decode)
    print_ratio("decode and downmix / decode", downmix, decode)
    print_ratio("resample and cut / decode", resample, decode)
    print_ratio("front end / decode", front_end, decode)
    print_ratio("model / decode", model, decode)
    total = [sum(parts) for parts in zip(clips, front_end, model, strict=True)]
    print_ratio("all of tagcli's stages / decode", total, decode)
    print_ratio("all of tagcli's stages / bare", total, bare)


if __name__ == "__main__":
    main()
