"""Choose the device that front end and model run on, and prepare the process for it."""

import ctypes
from collections.abc import Callable, Mapping

import torch

from tagcli.errors import DeviceError

# glibc's malloc.h; a map of the network takes tens of megabytes
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 1 << 30


def choose_device(name: str) -> torch.device:
    """Find a device by the name that the user gave.

    Parameters
    ----------
    name
        ``auto`` (CUDA, else MPS, else CPU), ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises
    ------
    DeviceError
        When there is no such device here: what was asked for is never replaced by something else.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        msg = f"{name!r} is not a device; use auto, cpu, cuda, cuda:N or mps."
        raise DeviceError(msg) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        msg = f"There is no CUDA device here, or this PyTorch ({torch.__version__}) has no CUDA; use --device cpu."
        raise DeviceError(msg)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        msg = f"There is no {name}, only {torch.cuda.device_count()} CUDA device(s); use a smaller number."
        raise DeviceError(msg)
    if device.type == "mps" and not torch.backends.mps.is_available():
        msg = "There is no MPS device here; use --device cpu."
        raise DeviceError(msg)
    if device.type not in ("cpu", "cuda", "mps"):
        msg = f"Devices of the kind {device.type} are not supported; use auto, cpu, cuda, cuda:N or mps."
        raise DeviceError(msg)
    return device


def prepare_device(device: torch.device) -> None:
    """Make float32 mean float32 on a GPU, and memory stay mapped on a CPU.

    Without TF32 a GPU agrees with the CPU to rounding. glibc gives large blocks back to the system when they are freed
    and faults their pages in again at the next clip, which costs a third of the time of a wide network.
    """
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    elif device.type == "cpu":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
            mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def choose_half(device: torch.device) -> torch.dtype:
    """Choose the half precision of a device: float16 on a GPU, bfloat16 on a processor.

    Raises
    ------
    DeviceError
        When the processor is slower with it, as far as PyTorch knows.
    """
    if device.type != "cpu":
        return torch.float16
    ask: Callable[[], Mapping[str, object]] = getattr(torch.cpu, "get_capabilities", dict)  # of an older PyTorch: none
    capabilities = ask()
    if not any(capabilities.get(name) for name in ("amx_bf16", "avx512_bf16")):
        msg = "PyTorch knows of no fast half precision on this processor; leave --half away."
        raise DeviceError(msg)
    return torch.bfloat16


def describe_device(device: torch.device) -> str:
    """Name a device for people, such as ``cuda:0 (NVIDIA H200)``."""
    if device == torch.device("cuda") and torch.cuda.device_count() > 1:
        return f"cuda ({torch.cuda.device_count()} x {torch.cuda.get_device_name(device)})"
    if device.type == "cuda":
        return f"cuda:{device.index or 0} ({torch.cuda.get_device_name(device)})"
    return device.type
