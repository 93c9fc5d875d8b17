"""What the benchmarks share: music to work on, a network to run, and costs that are compared round by round."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SAMPLE_RATE = 44_100
BIT_RATE = 192_000
MINUTES = (3.0, 3.5, 4.0, 4.5, 5.0)  # lengths of the files, in turn
N_DIFFERENT = 40  # files that are encoded; more are copies of which each has other bytes and the same sound
_ENCODER = b"Lavf" + bytes(5)  # its name in an mp3's length header: nine bytes that no decoder listens to


@dataclass(frozen=True)
class Cost:
    """What one run of one program took; memory in megabytes, at its highest."""

    wall_seconds: float
    cpu_seconds: float
    peak_mb: float


def make_music(path: Path, seconds: float, seed: int) -> None:
    """Encode music-like noise and tones as a 44.1 kHz joint stereo mp3 file of 192 kbit/s, unless it is there."""
    import av
    import numpy as np

    if path.exists():
        return
    generator = np.random.default_rng(seed)
    tones = [(generator.uniform(80, 8000), generator.uniform(0.2, 3)) for _ in range(12)]
    temporary = path.with_suffix(".tmp")
    with av.open(str(temporary), "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=SAMPLE_RATE, layout="stereo")
        stream.bit_rate = BIT_RATE
        for start in range(0, int(seconds * SAMPLE_RATE), 65_536):
            moments = np.arange(start, min(start + 65_536, int(seconds * SAMPLE_RATE))) / SAMPLE_RATE
            planes = 0.03 * generator.standard_normal((2, len(moments)))
            for number, (frequency, beat) in enumerate(tones):
                planes[number % 2] += (
                    0.08 * np.sin(2 * np.pi * frequency * moments) * np.sin(np.pi * beat * moments) ** 2
                )
            frame = av.AudioFrame.from_ndarray(planes.astype(np.float32), format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = SAMPLE_RATE, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    temporary.replace(path)


def make_files(folder: Path, n_files: int) -> float:
    """Make files of 3 to 5 minutes, unless they are there; give their length together, in seconds."""
    originals = folder.parent / "originals"
    originals.mkdir(parents=True, exist_ok=True)
    folder.mkdir(exist_ok=True)
    total = 0.0
    for path in folder.iterdir():  # of another run
        if path.stem not in {f"{number:03d}" for number in range(n_files)}:
            path.unlink()
    for number in range(n_files):
        total += 60 * MINUTES[number % len(MINUTES)]
        path, original = folder / f"{number:03d}.mp3", originals / f"{number % N_DIFFERENT:03d}.mp3"
        if path.exists():
            continue
        make_music(original, 60 * MINUTES[number % len(MINUTES)], seed=number % N_DIFFERENT)
        if number < N_DIFFERENT:
            path.hardlink_to(original)
            continue
        path.write_bytes(mark(original.read_bytes(), number))
    return total


def mark(mp3: bytes, number: int) -> bytes:
    """Give a file another hash and the same sound."""
    if _ENCODER not in mp3:
        sys.exit("The encoder writes another header than was thought, so that copies would not differ.")
    return mp3.replace(_ENCODER, f"Lavf{number:05d}".encode(), 1)


def make_checkpoint(path: Path, architecture: str) -> None:
    """Save the network with random weights."""
    import torch

    from tagcli.audio.clips import ClipRule
    from tagcli.checkpoint import CheckpointHeader, Provenance, save_checkpoint
    from tagcli.features.config import FrontEndConfig
    from tagcli.features.log_mel import LogMel, compute_mel_filter_bank
    from tagcli.models.config import ARCHITECTURES
    from tagcli.models.forms import build_model
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
        architecture=ARCHITECTURES[architecture](),
        vocabulary=load_vocabulary("msd50"),
        provenance=Provenance(
            source="random", source_sha256="0" * 64, licence="CC0", citation="none", training_data="none"
        ),
    )
    torch.manual_seed(0)
    log_mel = LogMel(front_end)
    log_mel.mel_filter_bank.copy_(compute_mel_filter_bank(front_end))
    tensors = {f"front_end.{name}": tensor for name, tensor in log_mel.state_dict().items()}
    tensors |= {f"model.{name}": tensor for name, tensor in build_model(header.architecture).state_dict().items()}
    save_checkpoint(path, header, tensors)


def measure(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Cost:
    """Run a program and read the operating system's account of it and its children.

    A small process starts it: a program is charged with the memory of the one that started it.
    """
    launched = subprocess.run(
        [sys.executable, __file__, *command],
        capture_output=True,
        env={**os.environ, **(environment or {})},
        check=False,
    )
    if launched.returncode:
        sys.exit(launched.stderr.decode(errors="replace"))
    return Cost(**json.loads(launched.stdout))


def launch(command: Sequence[str]) -> None:
    """Run a program, pass its errors and its exit code on, and print its cost as JSON."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    cost = {
        "wall_seconds": time.perf_counter() - started,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss / 1024,
    }
    print(json.dumps(cost))
    sys.exit(os.waitstatus_to_exitcode(status))


def interleave(cases: Mapping[str, Callable[[], Cost]], n_rounds: int) -> dict[str, list[Cost]]:
    """Run every case once a round; the first round warms the page cache up and is not counted."""
    costs: dict[str, list[Cost]] = {name: [] for name in cases}
    for number in range(n_rounds + 1):
        for name, run in cases.items():
            cost = run()
            if number:
                costs[name].append(cost)
    return costs


def without_cache(folder: Path) -> dict[str, str]:
    """Give an environment whose score cache is empty, in a folder that is made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    return {"XDG_CACHE_HOME": str(folder)}


def describe(values: Sequence[float]) -> str:
    """Give median and range."""
    return f"{statistics.median(values):7.2f} ({min(values):.2f} to {max(values):.2f})"


def print_costs(costs: Mapping[str, Sequence[Cost]]) -> None:
    """Print a line for each case."""
    for name, runs in costs.items():
        wall, cpu = ([getattr(cost, kind) for cost in runs] for kind in ("wall_seconds", "cpu_seconds"))
        peak = max(cost.peak_mb for cost in runs)
        print(f"{name:12s} wall s {describe(wall)}   CPU s {describe(cpu)}   peak {peak:.0f} MB")


def print_ratio(title: str, above: Sequence[float], below: Sequence[float]) -> None:
    """Print the ratio of two costs, taken round by round."""
    print(f"{title:44s} {describe([one / other for one, other in zip(above, below, strict=True)])}")


def print_machine() -> None:
    """Print what it was measured on."""
    print(f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, Python {sys.version.split()[0]}")


if __name__ == "__main__":
    launch(sys.argv[1:])
