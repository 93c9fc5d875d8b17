"""Batch norm behind the first convolution as it learns, without the maps in between.

What a convolution of one map gives is linear in the patches of that map. So the mean and the variance of its outputs
follow from the mean and the covariance of the patches, 9 numbers and 81 of them, and the batch norm can be folded into
the convolution before that is computed: the largest maps of the network are neither normalised nor kept for the
gradient. The same up to rounding as Ioffe and Szegedy, "Batch normalization" (2015), algorithm 1.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


def can_be_convolved(conv: nn.Conv2d, norm: nn.BatchNorm2d, maps: Tensor) -> bool:
    """Tell whether `convolve_normalised` takes them, and is faster; where that is known, which is on CPUs."""
    return (
        norm.training
        and norm.track_running_stats
        and norm.momentum is not None
        and conv.in_channels == 1
        and conv.weight.dtype == torch.float32
        and maps.is_cpu
        and not maps.requires_grad
        and maps.numel() > 1
    )


def convolve_normalised(conv: nn.Conv2d, norm: nn.BatchNorm2d, maps: Tensor) -> Tensor:
    """Compute ``norm(conv(maps))`` while both learn; the running statistics follow.

    Parameters
    ----------
    conv
        3x3, of one input channel, with zeros around the map.
    norm
        Of its outputs, with running statistics and a momentum.
    maps
        [shape=(n_clips, 1, n_bands, n_frames)], that no gradient goes to.

    Returns
    -------
    torch.Tensor
        [shape=(n_clips, n_channels, n_bands, n_frames)]
    """
    assert conv.bias is not None
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    assert norm.momentum is not None
    with torch.autocast(maps.device.type, enabled=False):
        patch_mean, covariance, n_patches = _measure_patches(maps)
        weight = conv.weight.flatten(1)
        mean = weight @ patch_mean
        variance = ((weight @ covariance) * weight).sum(dim=1).clamp_min(0)
        scale = norm.weight / torch.sqrt(variance + norm.eps)
        bias = norm.bias - scale * mean + 0 * conv.bias  # which the norm takes away: all parameters have a gradient
        # one input channel counts as contiguous in either layout: the strides choose the kernel for channels last
        folded = torch.as_strided(weight * scale[:, None], conv.weight.shape, (9, 1, 3, 1))
    with torch.no_grad():
        norm.running_mean.lerp_(mean + conv.bias, norm.momentum)
        norm.running_var.lerp_(variance * (n_patches / (n_patches - 1)), norm.momentum)
        norm.num_batches_tracked += 1
    return functional.conv2d(maps, folded, bias, padding=1)


def _measure_patches(maps: Tensor) -> tuple[Tensor, Tensor, int]:
    """Measure the mean [shape=(9,)] and covariance [shape=(9, 9)] of all 3x3 patches, and count these."""
    with torch.no_grad():
        middle = maps.mean(dtype=torch.float32)  # near which differences are rounded least
        padded = functional.pad(maps.float(), (1, 1, 1, 1)) - middle
        n_bands, n_frames = maps.shape[2:]
        patches = torch.stack(
            [
                padded[:, 0, band : band + n_bands, frame : frame + n_frames].flatten()
                for band in range(3)
                for frame in range(3)
            ]
        )
        mean = patches.mean(dim=1)
        patches -= mean[:, None]
        return mean + middle, patches @ patches.T / patches.shape[1], patches.shape[1]
