"""Compare forms of the networks on one clip and one CPU thread, round by round in one run.

    python benchmarks/inference.py --rounds 7

plain       the network as it is trained: convolution, batch norm, activation, pooling
subnormal   the inference form with half of the second layer's weights subnormal, as weight decay leaves them
returned    the inference form, freed memory given back to the system (glibc's default)
half        the inference form in bfloat16, as `tagcli predict --half` runs it on processors that have it
inference   the inference form as `tagcli predict` runs it

Each is a process of its own, which prints the median over `--clips` clips in milliseconds. Ratios are taken within a
round, against `inference` of the same network, and of each network's `inference` against that of the FCN; their median
and range are printed.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

FORMS = ("plain", "subnormal", "returned", "half", "inference")
ARCHITECTURES = ("compact", "fcn", "crnn")


def time_form(form: str, architecture: str, n_clips: int) -> float:
    """Time one form in this process: milliseconds for each clip, the median."""
    import torch

    from tagcli.models import config
    from tagcli.models.forms import build_model, to_inference_form
    from tagcli.tagger.device import prepare_device

    torch.set_num_threads(1)
    torch.manual_seed(0)
    figure = config.ARCHITECTURES[architecture]()
    model = build_model(figure).eval()
    if form != "plain":
        model = to_inference_form(model)
    if form == "subnormal":
        weight = model.blocks[1].conv.weight
        weight[::2] = weight[::2].sign() * 1e-40
    if form != "returned":
        prepare_device(torch.device("cpu"))
    dtype = torch.bfloat16 if form == "half" else torch.float32
    model, log_mel = model.to(dtype), torch.randn(1, figure.n_mels, figure.n_frames).to(dtype)
    costs = []
    with torch.inference_mode():
        for _ in range(n_clips + 2):
            started = time.perf_counter()
            model(log_mel)
            costs.append(1000 * (time.perf_counter() - started))
    return statistics.median(costs[2:])


def describe_ratios(costs: Sequence[float], bases: Sequence[float]) -> str:
    """Give the median of the ratios within a round, and their range."""
    ratios = [cost / base for cost, base in zip(costs, bases, strict=True)]
    return f"x {statistics.median(ratios):5.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--clips", type=int, default=15, help="clips in each process")
    parser.add_argument("--forms", nargs="+", choices=FORMS[:-1], default=FORMS[:-1], help="beside inference")
    parser.add_argument("--form", choices=FORMS, help=argparse.SUPPRESS)
    parser.add_argument("--architecture", choices=ARCHITECTURES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.form:
        print(time_form(arguments.form, arguments.architecture, arguments.clips))
        return
    print(f"one clip, one thread, {arguments.rounds} rounds of {arguments.clips} clips: ms, and ratio to inference")
    costs: dict[tuple[str, str], list[float]] = {
        (name, form): [] for name in ARCHITECTURES for form in (*arguments.forms, "inference")
    }
    for _ in range(arguments.rounds):
        for (architecture, form), runs in costs.items():
            own = [sys.executable, __file__, "--form", form, "--architecture", architecture]
            command = [*own, "--clips", str(arguments.clips)]
            runs.append(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    for (architecture, form), runs in costs.items():
        ratios = describe_ratios(runs, costs[architecture, "inference"])
        print(f"{architecture:8s} {form:10s} {statistics.median(runs):8.1f} ms   {ratios}")
    for architecture in ARCHITECTURES:
        ratios = describe_ratios(costs[architecture, "inference"], costs["fcn", "inference"])
        print(f"{architecture:8s} against the FCN           {ratios}")


if __name__ == "__main__":
    main()
