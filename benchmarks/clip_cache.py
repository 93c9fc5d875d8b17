"""Compare what a cache for training may hold: waveforms as int16 with a scale, float16 or float32, or log-mel maps.

    python benchmarks/clip_cache.py --audio FOLDER --model NAME --files 100 --rounds 3

The middle 29 s of each file of a folder, at the model's rate; without --audio, made files.

size        of 200,000 excerpts of 29 s, in GB, at 12 kHz and 16 kHz
error       largest and typical (99th percentile) difference in the front end's map above its floor, dB, and the largest
            one in the scores
encode      milliseconds to make an excerpt into what is kept
read        milliseconds to read a random excerpt as float32, out of the page cache (warm) and from the disk (cold)
cache       the cache of `tagcli train` itself: excerpts a second to fill it, its size, and reading with its checks
load        clips a second that arrive in batches, nothing else at work
front end   milliseconds a clip in one thread of the CPU, which log-mel maps would save
index       a made-up index of 200,000 excerpts: seconds to open it
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from harness import describe, make_checkpoint, make_files, print_machine

from tagcli.audio.clips import ClipRule
from tagcli.audio.excerpts import read_excerpt
from tagcli.audio.quiet import quiet_decoders
from tagcli.datasets.clip_cache import ClipCache, quantise, settings_for
from tagcli.datasets.clip_filling import build_cache, plan_cache
from tagcli.datasets.clip_index import Record, format_head, format_record
from tagcli.datasets.loading import Request, load_batches
from tagcli.datasets.manifest import Manifest
from tagcli.errors import AudioError
from tagcli.tagger import load_tagger

SECONDS = 29
N_EXCERPTS = 200_000
N_BATCHES, BATCH_SIZE = 40, 32
HEARD_DB = 80.0  # below the loudest: what the maps of the published networks keep, or nearly


@dataclass(frozen=True)
class Form:
    """One way to keep an excerpt: to bytes, and back to what it was."""

    name: str
    n_bytes: Callable[[int], int]
    write: Callable[[np.ndarray], bytes]
    read: Callable[[bytes], np.ndarray]


def make_forms(front_end: torch.nn.Module) -> list[Form]:
    """List the forms; a log-mel map is computed by the model's front end."""
    config = front_end.config

    def write_scaled(waveform: np.ndarray) -> bytes:
        samples, scale = quantise(waveform)
        return np.float32(scale).tobytes() + samples.tobytes()

    def read_scaled(content: bytes) -> np.ndarray:
        scale = np.frombuffer(content, np.float32, count=1)[0]
        return np.multiply(np.frombuffer(content, "<i2", offset=4), scale, dtype=np.float32)

    def write_map(waveform: np.ndarray) -> bytes:
        return front_end.decibels(torch.from_numpy(waveform)[None])[0].numpy().astype(np.float16).tobytes()

    def read_map(content: bytes) -> np.ndarray:
        return np.frombuffer(content, np.float16).astype(np.float32).reshape(config.n_mels, -1)

    return [
        Form("int16", lambda n: 2 * n + 4, write_scaled, read_scaled),
        Form(
            "float16",
            lambda n: 2 * n,
            lambda waveform: waveform.astype(np.float16).tobytes(),
            lambda content: np.frombuffer(content, np.float16).astype(np.float32),
        ),
        Form("float32", lambda n: 4 * n, np.ndarray.tobytes, lambda content: np.frombuffer(content, np.float32).copy()),
        Form("log-mel", lambda n: 2 * config.n_mels * config.n_frames(n), write_map, read_map),
    ]


def listen(tagger: "Tagger", form: Form, waveforms: list[np.ndarray]) -> None:  # noqa: F821
    """Print what a form does to maps and scores."""
    front_end, model = tagger.module.front_end, tagger.module.model
    in_map, in_scores = [], []
    for waveform in waveforms:
        content = form.read(form.write(waveform))
        exact = front_end.decibels(torch.from_numpy(waveform)[None])
        kept = torch.from_numpy(content)[None]
        decibels = kept if form.name == "log-mel" else front_end.decibels(kept)
        difference = (decibels - exact).abs()[exact > exact.max() - HEARD_DB]
        in_map.append((difference.max().item(), difference.quantile(0.99).item()))
        one, other = (torch.sigmoid(model(front_end._normalise(each.clone()))) for each in (exact, decibels))
        in_scores.append((one - other).abs().max().item())
    largest, typical = zip(*in_map, strict=True)
    print(
        f"{form.name:8s} error dB at most {max(largest):.4f}, 99th percentile {statistics.median(typical):.5f}   "
        f"scores at most {max(in_scores):.1e}, median {statistics.median(in_scores):.1e}"
    )


def time_form(form: Form, waveforms: list[np.ndarray], path: Path, n_rounds: int) -> None:
    """Print how fast a form is written and read."""
    writing, warm, cold = [], [], []
    n_copies = max(1, 300 // len(waveforms))
    for _ in range(n_rounds):
        started = time.perf_counter()
        contents = [form.write(waveform) for waveform in waveforms]
        writing.append(1000 * (time.perf_counter() - started) / len(waveforms))
        sizes = [len(content) for content in contents] * n_copies
        with path.open("wb") as file:
            for _ in range(n_copies):
                file.writelines(contents)
            file.flush()
            os.fsync(file.fileno())
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        order = np.random.default_rng(0).permutation(len(sizes))[:100]
        for times in (cold, warm):
            if times is cold:
                forget(path)
            mapped = np.memmap(path, dtype=np.uint8, mode="r")
            started = time.perf_counter()
            for number in order:
                form.read(mapped[starts[number] : starts[number] + sizes[number]].data)
            times.append(1000 * (time.perf_counter() - started) / len(order))
    print(f"{form.name:8s} encode ms {describe(writing)}   read ms warm {describe(warm)}   cold {describe(cold)}")


def forget(path: Path) -> None:
    """Ask the system to drop a file from its page cache."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def make_manifest(root: Path, paths: list[str]) -> Manifest:
    """Make a data set without tags."""
    n_examples = len(paths)
    return Manifest(
        name="benchmark",
        root=root,
        tags=(),
        paths=tuple(paths),
        ids=tuple(paths),
        splits=("train",) * n_examples,
        artists=("",) * n_examples,
        starts_seconds=np.zeros(n_examples),
        durations_seconds=np.full(n_examples, np.nan),
        labels=np.zeros((n_examples, 0), dtype=np.bool_),
        known=np.zeros((n_examples, 0), dtype=np.bool_),
    )


def time_cache(root: Path, names: list[str], folder: Path, sample_rate: int, n_workers: int) -> None:
    """Print how fast the real cache is filled and read."""
    manifest = make_manifest(root, names)
    plan = plan_cache(manifest, sample_rate=sample_rate, max_seconds=SECONDS, folder=folder)
    started = time.perf_counter()
    (*_, last) = build_cache(plan, n_workers=n_workers)
    seconds = time.perf_counter() - started
    kind = "exactly" if plan.is_exact else "about"
    print(
        f"cache    {last.n_done} excerpts in {seconds:.1f} s with {n_workers} threads: {last.n_done / seconds:.1f} a "
        f"second; {plan.n_bytes} bytes said beforehand ({kind}), {(folder / 'waveforms.int16').stat().st_size} taken"
    )
    order = np.random.default_rng(0).permutation(len(names)).tolist()
    for state in ("cold", "warm"):
        if state == "cold":
            forget(folder / "waveforms.int16")
        cache = ClipCache(manifest, sample_rate=sample_rate, max_seconds=SECONDS, folder=folder)
        for reading in ("first", "again"):
            rows = [row for row in order if row not in cache.missing]
            started = time.perf_counter()
            for row in rows:
                cache.read(row)
            print(
                f"cache    read {state}, {reading}: {1000 * (time.perf_counter() - started) / len(rows):.2f} ms a clip"
            )
    batches = np.random.default_rng(0).choice(rows, size=(N_BATCHES, BATCH_SIZE)).tolist()
    requests = [[Request(row=row, position=0.5) for row in batch] for batch in batches]
    rule = ClipRule(n_samples=SECONDS * sample_rate, short="repeat")
    started = time.perf_counter()
    for _ in load_batches(cache, requests, rule=rule, n_workers=n_workers):
        pass
    rate = N_BATCHES * BATCH_SIZE / (time.perf_counter() - started)
    print(f"load     {rate:.0f} clips a second in batches of {BATCH_SIZE}, nothing else at work")


def time_index(folder: Path) -> None:
    """Print how long a cache of many excerpts takes to be planned and opened; its samples are a hole in the file."""
    names = [f"{number % 10}/{number // 10 % 10}/{number:07d}.clip.mp3" for number in range(N_EXCERPTS)]
    manifest = make_manifest(folder, names)
    settings = settings_for(manifest, sample_rate=16_000, max_seconds=60)
    length = SECONDS * 16_000
    folder.mkdir()
    with (folder / "index.jsonl").open("wb") as file:
        file.write(format_head(settings))
        for number, name in enumerate(names):
            offset = number * length
            file.write(
                format_record(
                    Record(
                        path=name,
                        start_seconds=0.0,
                        duration_seconds=None,
                        size=480_000,
                        mtime_ns=1_700_000_000_000_000_000 + number,
                        offset=offset,
                        n_samples=length,
                        scale=1 / 32_768,
                        crc32=offset % 2**32,
                    )
                )
            )
    with (folder / "waveforms.int16").open("wb") as file:
        file.truncate(2 * length * N_EXCERPTS)
    for name, use in (("plan", plan_cache), ("open", ClipCache)):
        started = time.perf_counter()
        use(manifest, sample_rate=16_000, folder=folder)
        print(f"index    {name} {N_EXCERPTS} excerpts: {time.perf_counter() - started:.1f} s")
    print(f"index    {(folder / 'index.jsonl').stat().st_size / 1e6:.0f} MB")


def decode(paths: list[Path], sample_rate: int) -> Iterator[np.ndarray]:
    """Decode the middle of each file; leave out what is shorter or no audio."""
    for path in paths:
        try:
            waveform = read_excerpt(path, sample_rate, max_seconds=SECONDS)
        except AudioError as error:
            print(json.dumps(error.message))
            continue
        if len(waveform) == SECONDS * sample_rate:
            yield waveform


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio", type=Path, help="a folder of audio files; some are made by default")
    parser.add_argument("--model", help="weights, by name or file; random ones of 12 kHz by default")
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary, quiet_decoders(), torch.inference_mode():
        place = Path(temporary)
        checkpoint = arguments.model
        if checkpoint is None:
            checkpoint = place / "random.safetensors"
            make_checkpoint(checkpoint, "compact")
        tagger = load_tagger(checkpoint, device="cpu")
        sample_rate = tagger.header.front_end.sample_rate
        root = arguments.audio or place / "files"
        if arguments.audio is None:
            make_files(root, min(arguments.files, 10))
        names = sorted(path.name for path in root.iterdir() if path.is_file())[: arguments.files]
        started = time.perf_counter()
        waveforms = list(decode([root / name for name in names], sample_rate))
        decoding = 1000 * (time.perf_counter() - started) / len(names)
        print_machine()
        print(f"{len(waveforms)} excerpts of {SECONDS} s, {tagger.header.name}, {sample_rate} Hz")
        print(f"decode   {decoding:.1f} ms a file, in one thread")
        forms = make_forms(tagger.module.front_end)
        for form in forms:
            sizes = (form.n_bytes(SECONDS * rate) * N_EXCERPTS / 1e9 for rate in (12_000, 16_000))
            print("{:8s} {:.0f} GB at 12 kHz, {:.0f} GB at 16 kHz".format(form.name, *sizes))
        for form in forms:
            listen(tagger, form, waveforms)
        for form in forms:
            time_form(form, waveforms, place / "flat", arguments.rounds)
        times = []
        for waveform in waveforms:
            started = time.perf_counter()
            tagger.module.front_end(torch.from_numpy(waveform)[None])
            times.append(1000 * (time.perf_counter() - started))
        print(f"front end ms a clip {describe(times)}")
        time_cache(root, names, place / "cache", sample_rate, arguments.workers)
        time_index(place / "index")


if __name__ == "__main__":
    main()
