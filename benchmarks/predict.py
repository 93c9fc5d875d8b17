"""Compare `tagcli predict` with a naive pipeline and with the decoding floor, round by round in one run.

    python benchmarks/predict.py --files 40 --more-files 200 --rounds 5

Programs are run in turn, each as a process of its own, over the same mp3 files of 3 to 5 minutes, which this script
makes itself (44.1 kHz joint stereo, 192 kbit/s):

naive    what a script does: librosa.load, librosa.feature.melspectrogram, the plain network, one file at a time
floor    decoding alone: soundfile reads every sample of every file in one thread, nothing is computed
bare     the same without soundfile's seek after each block, which makes an mp3 decoder decode frames twice
tagcli   `tagcli predict --format jsonl`, with a score cache that is empty at the start and filled by the run

Ratios are taken within a round, and their median and range are printed. The slope is what each further file costs:
the difference between two numbers of files, divided by their difference. The network is the compact 5-layer ConvNet (or
another one) with random weights: what it costs does not depend on what it learned; --model takes others.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from harness import (
    Cost,
    interleave,
    make_checkpoint,
    make_files,
    measure,
    print_costs,
    print_machine,
    print_ratio,
    without_cache,
)


def run_floor(folder: Path, clips: str, *, is_bare: bool) -> None:
    """Decode and throw away: the whole track, or the 29 seconds in its middle."""
    import numpy as np
    import soundfile

    class Bare(soundfile.SoundFile):
        def seekable(self) -> bool:
            return False  # read() seeks where this says yes

    kind = Bare if is_bare else soundfile.SoundFile
    buffer = np.empty((65_536, 2), dtype=np.float32)
    for path in sorted(folder.glob("*.mp3")):
        with kind(path) as file:
            left = file.frames
            if clips == "middle":
                left = 29 * file.samplerate
                file.seek((file.frames - left) // 2)
            while left > 0 and len(block := file.read(min(left, len(buffer)), out=buffer[: min(left, len(buffer))])):
                left -= len(block)


def run_naive(folder: Path, checkpoint: Path, clips: str) -> None:
    """Do what a script does: one file at a time, librosa for the features, the plain network."""
    import librosa
    import numpy as np
    import torch

    from tagcli.checkpoint import load_tensors, read_header
    from tagcli.models.forms import build_model

    header = read_header(checkpoint)
    config, clip_samples = header.front_end, header.clip.n_samples
    model = build_model(header.architecture).eval()
    model.load_state_dict(
        {name.removeprefix("model."): value for name, value in load_tensors(checkpoint).items() if "model." in name}
    )
    for path in sorted(folder.glob("*.mp3")):
        waveform, _ = librosa.load(path, sr=config.sample_rate)
        if clips == "middle":
            start = (len(waveform) - clip_samples) // 2
            pieces = [waveform[start : start + clip_samples]]
        else:
            starts = list(range(0, len(waveform) - clip_samples + 1, clip_samples))
            if len(waveform) - starts[-1] - clip_samples >= config.sample_rate:  # the same clips as tagcli hears
                starts.append(len(waveform) - clip_samples)
            pieces = [waveform[start : start + clip_samples] for start in starts]
        log_mels = []
        for piece in pieces:
            mel = librosa.feature.melspectrogram(
                y=piece, sr=config.sample_rate, n_fft=config.n_fft, hop_length=config.hop_length, n_mels=config.n_mels
            )
            log_mels.append(librosa.power_to_db(mel)[:, : header.architecture.n_frames])
        with torch.no_grad():
            torch.sigmoid(model(torch.from_numpy(np.stack(log_mels)))).mean(dim=0).numpy()


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--more-files", type=int, help="for the slope; none by default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--architecture", choices=("compact", "fcn", "crnn"), default="compact")
    parser.add_argument("--model", help="weights in place of random ones")
    parser.add_argument("--clips", choices=("all", "middle"), default="all")
    parser.add_argument("--folder", type=Path, help="where the files are made and kept; a temporary one by default")
    parser.add_argument("--no-naive", action="store_true", help="leave the slowest program out")
    parser.add_argument("--run", choices=("naive", "floor", "bare"), help=argparse.SUPPRESS)
    parser.add_argument("--checkpoint", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run in ("floor", "bare"):
        run_floor(arguments.folder, arguments.clips, is_bare=arguments.run == "bare")
        return
    if arguments.run == "naive":
        run_naive(arguments.folder, arguments.checkpoint, arguments.clips)
        return
    with tempfile.TemporaryDirectory() as temporary:
        checkpoint, cache = Path(temporary) / "random.safetensors", Path(temporary) / "cache"
        if arguments.model is None:
            make_checkpoint(checkpoint, arguments.architecture)
        else:
            from tagcli.weights.catalogue import find_weights

            checkpoint = find_weights(arguments.model)
        seconds = {}

        def prepare(name: str, n_files: int) -> list[str]:
            folder = (arguments.folder or Path(temporary)) / f"{n_files} files"
            seconds[n_files] = make_files(folder, n_files)
            own = [sys.executable, __file__, "--folder", str(folder), "--clips", arguments.clips, "--run", name]
            if name != "tagcli":
                return [*own, "--checkpoint", str(checkpoint)]
            return [
                *(sys.executable, "-m", "tagcli", "-q", "predict", "--device", "cpu", "--format", "jsonl"),
                *("--model", str(checkpoint), "--clips", arguments.clips, str(folder)),
            ]

        def run(name: str, n_files: int) -> Cost:
            return measure(prepare(name, n_files), without_cache(cache))

        n_few, n_many = arguments.files, arguments.more_files
        cases = [("floor", n_few), ("tagcli", n_few), ("bare", n_few)]
        cases += [] if arguments.no_naive else [("naive", n_few)]
        cases += [("floor", n_many), ("tagcli", n_many)] if n_many else []
        costs = interleave(
            {f"{name} {n_files}": (lambda name=name, n_files=n_files: run(name, n_files)) for name, n_files in cases},
            arguments.rounds,
        )
    print_machine()
    print(
        f"{n_few} files, {seconds[n_few] / 60:.0f} minutes, clips {arguments.clips}, "
        f"{arguments.model or arguments.architecture}, "
        f"{arguments.rounds} rounds"
    )
    print_costs(costs)
    of = {
        (name, kind): [getattr(cost, kind) for cost in runs]
        for name, runs in costs.items()
        for kind in ("wall_seconds", "cpu_seconds")
    }
    few = {name: f"{name} {n_few}" for name in ("floor", "bare", "naive", "tagcli")}
    for kind, word in (("wall_seconds", "wall"), ("cpu_seconds", "CPU")):
        if not arguments.no_naive:
            print_ratio(f"naive / tagcli, {word}", of[few["naive"], kind], of[few["tagcli"], kind])
        print_ratio(f"tagcli / floor, {word}", of[few["tagcli"], kind], of[few["floor"], kind])
        print_ratio(f"tagcli / bare, {word}", of[few["tagcli"], kind], of[few["bare"], kind])
    if n_many:
        slopes = {
            name: [
                (many - less) / (n_many - n_few)
                for many, less in zip(of[f"{name} {n_many}", "cpu_seconds"], of[few[name], "cpu_seconds"], strict=True)
            ]
            for name in ("floor", "tagcli")
        }
        print_ratio(f"tagcli / floor, CPU of each file from {n_few} to {n_many}", slopes["tagcli"], slopes["floor"])


if __name__ == "__main__":
    main()
