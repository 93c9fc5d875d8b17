"""Measure front end and network on a device: speed by batch size, and how near it comes to what the device can do.

    python benchmarks/device.py --device cuda --rounds 5

For each batch size, and in half precision too where the device is a GPU: clips a second, x real time, and the share of
the device's own limits, which are measured in the same round:

memory      a large tensor is copied: bytes read and written each second
arithmetic  two large matrices are multiplied in float32 (without TF32): operations each second

What the network moves and computes is counted from its layers, every map read and written once; a device that keeps
maps in its cache moves less. Scores are compared with those of the CPU. The network has random weights.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness import describe, make_checkpoint, print_machine

if TYPE_CHECKING:
    import torch

    from tagcli.tagger.module import TaggerModule

COPIED_BYTES = {"cuda": 2**30, "cpu": 2**27}
MATRIX_SIDE = {"cuda": 8192, "cpu": 1024}


@dataclass(frozen=True)
class Work:
    """What one clip takes: bytes that are moved, and operations."""

    n_bytes: float
    n_operations: float


def count_work(module: "TaggerModule") -> Work:
    """Count from the layers of the network what a clip takes in float32; the front end by its Fourier transforms."""
    import math

    import torch

    counts = {"bytes": 0.0, "operations": 0.0}

    def count(layer: torch.nn.Module, given: tuple[torch.Tensor, ...], made: torch.Tensor) -> None:
        counts["bytes"] += 4.0 * (given[0].numel() + 2 * made.numel())  # pooling reads again what was made
        per_value = layer.weight[0].numel()
        counts["operations"] += 2.0 * per_value * made.numel()

    layers = [layer for layer in module.model.modules() if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear)]
    handles = [layer.register_forward_hook(count) for layer in layers]
    config, n_samples = module.header.front_end, module.header.clip.n_samples
    with torch.inference_mode():
        module(torch.zeros(1, n_samples))
    for handle in handles:
        handle.remove()
    n_frames, n_bins = config.n_frames(n_samples), 1 + config.n_fft // 2
    counts["operations"] += n_frames * (5 * config.n_fft * math.log2(config.n_fft) + 2 * n_bins * config.n_mels)
    counts["bytes"] += 4.0 * n_frames * (2 * config.n_fft + 6 * n_bins + 2 * config.n_mels)
    return Work(n_bytes=counts["bytes"], n_operations=counts["operations"])


def time_call(call: Callable[[], object], device: "torch.device", n_calls: int) -> float:
    """Give the seconds of one call, the mean over some; the device is waited for."""
    import torch

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    call()
    wait()
    started = time.perf_counter()
    for _ in range(n_calls):
        call()
    wait()
    return (time.perf_counter() - started) / n_calls


def main() -> None:
    """Measure."""
    import torch

    from tagcli.tagger import load_tagger

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 4, 16, 64, 256])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=10, help="in each round, for each batch size")
    parser.add_argument("--architecture", choices=("compact", "fcn", "crnn"), default="compact")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, torch.inference_mode():
        checkpoint = Path(temporary) / "random.safetensors"
        make_checkpoint(checkpoint, arguments.architecture)
        on_cpu = load_tagger(checkpoint, device="cpu").module
        tagger = load_tagger(checkpoint, device=arguments.device)
        device, header = tagger.device, tagger.header
        forms = {"float32": tagger.module}
        if device.type == "cuda":
            forms["float16"] = load_tagger(checkpoint, device=arguments.device).module.halve(torch.float16)
        work = count_work(on_cpu)
        seconds = header.clip.n_samples / header.front_end.sample_rate
        source = torch.empty(COPIED_BYTES[device.type], dtype=torch.uint8, device=device)
        target = torch.empty_like(source)
        side = MATRIX_SIDE[device.type]
        matrix = torch.randn(side, side, device=device)
        waveforms = 0.1 * torch.randn(max(arguments.batch_sizes), header.clip.n_samples)
        print_machine()
        print(f"{tagger.device_description}, torch {torch.__version__}, {arguments.architecture}")
        print(f"a clip of {seconds:g} s: {work.n_bytes / 1e6:.0f} MB moved, {work.n_operations / 1e9:.2f} G operations")
        expected = on_cpu(waveforms[:4])
        for name, module in forms.items():
            difference = (module(waveforms[:4].to(device)).cpu() - expected).abs().max().item()
            print(f"{name}: scores differ from the CPU's by {difference:.1e} at most (4 clips of noise)")
            for batch_size in arguments.batch_sizes:
                batch = waveforms[:batch_size].to(device)
                speeds, of_memory, of_arithmetic = [], [], []
                for _ in range(arguments.rounds):
                    copied = 2 * source.numel() / time_call(lambda: target.copy_(source), device, 5)
                    computed = 2 * side**3 / time_call(lambda: matrix @ matrix, device, 5)
                    clips = batch_size / time_call(lambda m=module, b=batch: m(b), device, arguments.calls)
                    speeds.append(clips)
                    of_memory.append(clips * work.n_bytes / copied)
                    of_arithmetic.append(clips * work.n_operations / computed)
                real_time = statistics.median(speeds) * seconds
                print(
                    f"{name} batch {batch_size:4d}  clips/s {describe(speeds)}  {real_time:8.0f} x real time"
                    f"  memory {describe(of_memory)}  arithmetic {describe(of_arithmetic)}"
                )


if __name__ == "__main__":
    main()
