"""Compare `tagcli predict` with a naive pipeline and with the decoding floor, pair by pair in one run.

    python benchmarks/predict.py --files 16 --pairs 5

Three programs are run in turn, each as a process of its own, over the same mp3 files, which this script makes itself
(44.1 kHz joint stereo, 192 kbit/s):

naive    what a script does: librosa.load, librosa.feature.melspectrogram, the plain network, one file at a time
floor    decoding alone: soundfile reads every sample of every file in one thread, nothing is computed
tagcli   `tagcli predict --format jsonl`

Ratios are taken within a pair (the programs of one round), and their median and range are printed. The network is the
compact 5-layer ConvNet (or the FCN) with random weights: what it costs does not depend on what it learned.
"""

import argparse
import itertools
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

SAMPLE_RATE = 44_100
BIT_RATE = 192_000
ROUND_ORDER = ("floor", "tagcli", "naive")


@dataclass(frozen=True)
class Cost:
    """What one run of one program took."""

    wall_seconds: float
    cpu_seconds: float


def make_files(folder: Path, n_files: int, seconds: float) -> None:
    """Encode music-like noise and tones, each file another, unless they are there already."""
    import av
    import numpy as np

    folder.mkdir(parents=True, exist_ok=True)
    time_axis = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    for number in range(n_files):
        path = folder / f"{number:03d}.mp3"
        if path.exists():
            continue
        generator = np.random.default_rng(number)
        planes = 0.03 * generator.standard_normal((2, len(time_axis))).astype(np.float32)
        for plane in planes:
            for _ in range(6):
                frequency, beat = generator.uniform(80, 8000), generator.uniform(0.2, 3)
                plane += 0.08 * np.sin(2 * np.pi * frequency * time_axis) * np.sin(np.pi * beat * time_axis) ** 2
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libmp3lame", rate=SAMPLE_RATE, layout="stereo")
            stream.bit_rate = BIT_RATE
            for start in range(0, planes.shape[1], 65_536):
                block = np.ascontiguousarray(planes[:, start : start + 65_536])
                frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
                frame.sample_rate, frame.pts = SAMPLE_RATE, start
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))


def make_checkpoint(path: Path, architecture: str) -> None:
    """Save the network with random weights."""
    import torch

    from tagcli.audio.clips import ClipRule
    from tagcli.checkpoint import CheckpointHeader, Provenance, save_checkpoint
    from tagcli.features.config import FrontEndConfig
    from tagcli.features.log_mel import LogMel, compute_mel_filter_bank
    from tagcli.models.config import compact_config, fcn_config
    from tagcli.models.convnet import ConvNet
    from tagcli.weights.vocabularies import load_vocabulary

    is_compact = architecture == "compact"
    front_end = FrontEndConfig(
        sample_rate=12_000 if is_compact else 16_000,
        fmax=6000.0 if is_compact else 8000.0,
        padding="tensorflow_same" if is_compact else "reflect",
        filter_bank="stored",
    )
    header = CheckpointHeader(
        name=f"random-{architecture}",
        front_end=front_end,
        clip=ClipRule(n_samples=29 * front_end.sample_rate, short="repeat"),
        architecture=compact_config() if is_compact else fcn_config(),
        vocabulary=load_vocabulary("msd50"),
        provenance=Provenance(
            source="random", source_sha256="0" * 64, licence="CC0", citation="none", training_data="none"
        ),
    )
    torch.manual_seed(0)
    log_mel = LogMel(front_end)
    log_mel.mel_filter_bank.copy_(compute_mel_filter_bank(front_end))
    tensors = {f"front_end.{name}": tensor for name, tensor in log_mel.state_dict().items()}
    tensors |= {f"model.{name}": tensor.detach() for name, tensor in ConvNet(header.architecture).state_dict().items()}
    save_checkpoint(path, header, tensors)


def run_floor(folder: Path, clips: str) -> None:
    """Decode and throw away: the whole track, or the 29 seconds in its middle."""
    import numpy as np
    import soundfile

    buffer = np.empty((65_536, 2), dtype=np.float32)
    for path in sorted(folder.glob("*.mp3")):
        with soundfile.SoundFile(path) as file:
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
    from tagcli.models.convnet import ConvNet

    header = read_header(checkpoint)
    config, clip_samples = header.front_end, header.clip.n_samples
    model = ConvNet(header.architecture).eval()
    model.load_state_dict(
        {name.removeprefix("model."): value for name, value in load_tensors(checkpoint).items() if "model." in name}
    )
    for path in sorted(folder.glob("*.mp3")):
        waveform, _ = librosa.load(path, sr=config.sample_rate)
        if clips == "middle":
            start = (len(waveform) - clip_samples) // 2
            pieces = [waveform[start : start + clip_samples]]
        else:
            starts = range(0, len(waveform) - clip_samples + 1, clip_samples)
            pieces = [waveform[start : start + clip_samples] for start in starts]
        log_mels = []
        for piece in pieces:
            mel = librosa.feature.melspectrogram(
                y=piece, sr=config.sample_rate, n_fft=config.n_fft, hop_length=config.hop_length, n_mels=config.n_mels
            )
            log_mels.append(librosa.power_to_db(mel)[:, : header.architecture.n_frames])
        with torch.no_grad():
            torch.sigmoid(model(torch.from_numpy(np.stack(log_mels)))).mean(dim=0).numpy()


def measure(command: list[str]) -> Cost:
    """Run a program and read the operating system's account of it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    finished = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    wall_seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if finished.returncode:
        sys.exit(finished.stderr.decode(errors="replace"))
    cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall_seconds=wall_seconds, cpu_seconds=cpu_seconds)


def measure_stages(folder: Path, checkpoint: Path) -> dict[str, float]:
    """Time each stage of the corridor in one thread, in milliseconds for each track, medians over the tracks."""
    import torch

    from tagcli.audio.quiet import quiet_decoders
    from tagcli.audio.reading import TrackClips
    from tagcli.audio.sources import SoundfileSource
    from tagcli.tagger import load_tagger
    from tagcli.tagger.pipeline import TagOptions

    torch.set_num_threads(1)
    module = load_tagger(checkpoint, device="cpu").module
    rows: list[list[float]] = []
    with quiet_decoders(), torch.inference_mode():
        for path in sorted(folder.glob("*.mp3")):
            marks = [time.perf_counter()]
            with SoundfileSource(path) as source:
                for _ in source.blocks():
                    pass
            marks.append(time.perf_counter())
            clips = list(
                TrackClips(
                    path,
                    sample_rate=module.header.front_end.sample_rate,
                    rule=module.header.clip,
                    choice=TagOptions().clips,
                )
            )
            marks.append(time.perf_counter())
            waveforms = [torch.from_numpy(clip.waveform)[None] for clip in clips]
            log_mels = [module.front_end(waveform) for waveform in waveforms]
            marks.append(time.perf_counter())
            for log_mel in log_mels:
                module.model(log_mel)
            marks.append(time.perf_counter())
            decode, decode_and_resample, front_end, model = (
                1000 * (end - start) for start, end in itertools.pairwise(marks)
            )
            rows.append([decode, max(0.0, decode_and_resample - decode), front_end, model])
    names = ("decode and downmix", "resample and cut", "front end", "model")
    return {name: statistics.median(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def describe(values: list[float]) -> str:
    """Give median and range."""
    return f"{statistics.median(values):7.2f}  ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=240.0, help="length of each file")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--architecture", choices=("compact", "fcn"), default="compact")
    parser.add_argument("--clips", choices=("all", "middle"), default="all")
    parser.add_argument("--folder", type=Path, help="where the files are made and kept; a temporary one by default")
    parser.add_argument("--run", choices=("naive", "floor"), help=argparse.SUPPRESS)
    parser.add_argument("--checkpoint", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run == "floor":
        run_floor(arguments.folder, arguments.clips)
        return
    if arguments.run == "naive":
        run_naive(arguments.folder, arguments.checkpoint, arguments.clips)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.folder or Path(temporary)) / f"{arguments.files}x{arguments.seconds:g}s"
        make_files(folder, arguments.files, arguments.seconds)
        checkpoint = Path(temporary) / "random.safetensors"
        make_checkpoint(checkpoint, arguments.architecture)
        own = [sys.executable, __file__, "--folder", str(folder), "--clips", arguments.clips]
        tagcli = [sys.executable, "-m", "tagcli", "-q", "predict", "--device", "cpu", "--format", "jsonl"]
        commands = {
            "floor": [*own, "--run", "floor"],
            "naive": [*own, "--run", "naive", "--checkpoint", str(checkpoint)],
            "tagcli": [*tagcli, "--model", str(checkpoint), "--clips", arguments.clips, str(folder)],
        }
        costs: dict[str, list[Cost]] = {name: [] for name in commands}
        for number in range(arguments.pairs + 1):
            for name in ROUND_ORDER:
                cost = measure(commands[name])
                if number:  # the first round warms the page cache up
                    costs[name].append(cost)
        stages = measure_stages(folder, checkpoint)
    audio_seconds = arguments.files * arguments.seconds
    print(
        f"{arguments.files} files of {arguments.seconds:g} s, clips {arguments.clips}, {arguments.architecture}, "
        f"{os.cpu_count()} cores, {arguments.pairs} rounds"
    )
    for name, runs in costs.items():
        wall = [cost.wall_seconds for cost in runs]
        cpu = [cost.cpu_seconds for cost in runs]
        speed = audio_seconds / statistics.median(wall)
        print(f"{name:8s} wall s {describe(wall)}   CPU s {describe(cpu)}   {speed:7.0f} x real time")
    for title, above, below, kind in (
        ("naive / tagcli, wall", "naive", "tagcli", "wall_seconds"),
        ("naive / tagcli, CPU", "naive", "tagcli", "cpu_seconds"),
        ("tagcli / floor, wall", "tagcli", "floor", "wall_seconds"),
        ("tagcli / floor, CPU", "tagcli", "floor", "cpu_seconds"),
    ):
        ratios = [getattr(a, kind) / getattr(b, kind) for a, b in zip(costs[above], costs[below], strict=True)]
        print(f"{title:22s} {describe(ratios)}")
    total = sum(stages.values())
    shares = ", ".join(f"{name} {cost:.0f} ms ({cost / total:.0%})" for name, cost in stages.items())
    print(f"stages of one track, one thread: {shares}")


if __name__ == "__main__":
    main()
