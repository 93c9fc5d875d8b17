"""Statistics of batch norms, estimated layer by layer.

A layer's statistics are those of all clips together, which have passed the layers before it under theirs: what Ioffe
and Szegedy, "Batch normalization" (2015), algorithm 2, do after a training, in one batch of everything.
"""

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tagcli.models.blocks import BlockStack, ConvBlock
from tagcli.models.inference import FoldedBlock

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True, kw_only=True)
class BatchNormStatistics:
    """What a batch norm normalises by.

    Parameters
    ----------
    mean, variance
        Of each map, over clips, bands and frames [shape=(n_maps,)]; the variance is the biased one.
    """

    mean: Tensor
    variance: Tensor


def estimate_statistics(
    blocks: Sequence[ConvBlock],
    read_map: Callable[[int], Tensor],
    numbers: Sequence[int],
    *,
    crew: ThreadPoolExecutor,
    on_progress: Progress,
) -> list[BatchNormStatistics]:
    """Estimate what the batch norm of each block normalises by, those before it settled.

    Parameters
    ----------
    blocks
        From the input on; their batch norms take the statistics of each clip.
    read_map
        Gives a log-mel map by its number [shape=(n_mels, n_frames)], in any thread.
    numbers
        Which maps; the sums are taken in this order.
    crew
        Threads that compute.
    on_progress
        Told how it goes.
    """
    settled = BlockStack()
    found = []
    for index, block in enumerate(blocks):

        def measure(number: int, conv: nn.Conv2d = block.conv) -> tuple[Tensor, Tensor]:
            with torch.inference_mode():
                maps = conv(settled(read_map(number)[None, None]))
                variance, mean = torch.var_mean(maps, dim=(0, 2, 3), correction=0)
                return mean.double(), variance.double()

        means, variances = [], []
        for mean, variance in crew.map(measure, numbers):
            means.append(mean)
            variances.append(variance)
            on_progress(f"block {index + 1} of {len(blocks)}", len(means), len(numbers))
        of_clips = torch.stack(means)
        # all clips are of one size, so the variance over all is the mean of theirs, and that of their means
        total = torch.stack(variances).mean(dim=0) + of_clips.var(dim=0, correction=0)
        statistics = BatchNormStatistics(mean=of_clips.mean(dim=0).float(), variance=total.float())
        found.append(statistics)
        settled.append(FoldedBlock(_settle(block, statistics)))
    return found


def _settle(block: ConvBlock, statistics: BatchNormStatistics) -> ConvBlock:
    """Make a copy of a block whose batch norm has statistics."""
    norm = nn.BatchNorm2d(len(statistics.mean), eps=block.norm.eps)
    state = {"weight": block.norm.weight, "bias": block.norm.bias, "num_batches_tracked": torch.tensor(0)}
    norm.load_state_dict({**state, "running_mean": statistics.mean, "running_var": statistics.variance})
    settled = copy.deepcopy(block)
    settled.norm = norm
    return settled.requires_grad_(False).eval()
