"""Compare forms of the network on one clip and one CPU thread, round by round in one run.

    python benchmarks/inference.py --rounds 7

plain       the network as it is trained: convolution, batch norm, activation, pooling
subnormal   the inference form with half of the second layer's weights subnormal, as weight decay leaves them
returned    the inference form, freed memory given back to the system (glibc's default)
inference   the inference form as `tagcli predict` runs it

Each is a process of its own, which prints the median over `--clips` clips in milliseconds. Ratios are taken within a
round against `inference`; their median and range are printed.
"""

import argparse
import statistics
import subprocess
import sys
import time

FORMS = ("plain", "subnormal", "returned", "inference")


def time_form(form: str, architecture: str, n_clips: int) -> float:
    """Time one form in this process: milliseconds for each clip, the median."""
    import torch

    from tagcli.models.config import compact_config, fcn_config
    from tagcli.models.convnet import ConvNet
    from tagcli.models.inference import InferenceConvNet
    from tagcli.tagger.device import prepare_device

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = compact_config() if architecture == "compact" else fcn_config()
    network = ConvNet(config).eval()
    model = network if form == "plain" else InferenceConvNet(network)
    if form == "subnormal" and isinstance(model, InferenceConvNet):
        weight = model.convs[1].weight
        weight[::2] = weight[::2].sign() * 1e-40
    if form != "returned":
        prepare_device(torch.device("cpu"))
    log_mel = torch.randn(1, config.n_mels, config.n_frames)
    costs = []
    with torch.inference_mode():
        for _ in range(n_clips + 2):
            started = time.perf_counter()
            model(log_mel)
            costs.append(1000 * (time.perf_counter() - started))
    return statistics.median(costs[2:])


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--clips", type=int, default=15, help="clips in each process")
    parser.add_argument("--form", choices=FORMS, help=argparse.SUPPRESS)
    parser.add_argument("--architecture", choices=("compact", "fcn"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.form:
        print(time_form(arguments.form, arguments.architecture, arguments.clips))
        return
    print(f"one clip, one thread, {arguments.rounds} rounds of {arguments.clips} clips: ms, and ratio to inference")
    for architecture in ("compact", "fcn"):
        costs: dict[str, list[float]] = {form: [] for form in FORMS}
        for _ in range(arguments.rounds):
            for form in FORMS:
                own = [sys.executable, __file__, "--form", form, "--architecture", architecture]
                command = [*own, "--clips", str(arguments.clips)]
                finished = subprocess.run(command, capture_output=True, text=True, check=True)
                costs[form].append(float(finished.stdout))
        for form, runs in costs.items():
            ratios = [cost / base for cost, base in zip(runs, costs["inference"], strict=True)]
            print(
                f"{architecture:8s} {form:10s} {statistics.median(runs):8.1f} ms   "
                f"x {statistics.median(ratios):5.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            )


if __name__ == "__main__":
    main()
