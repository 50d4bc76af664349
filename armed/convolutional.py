"""What is different about networks of convolutions: they train one at a time, on images kept as bytes.

Their operations are large enough to keep a processor busy, so a stack of replicas would save nothing. They run with the
channels of a pixel side by side in memory (channels-last) and, where asked for, with activations in bfloat16.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

PRECISIONS = ("float32", "mixed")
# Images evaluated at once: enough to keep a processor busy, few enough for its memory.
EVALUATED_AT_ONCE = 64
# Of glibc's mallopt: pieces of memory that are mapped by themselves, and free memory kept at the end of the heap.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_KEPT_BYTES = 2**31 - 1


def as_pool(X: np.ndarray, device: str | torch.device = "cpu") -> Tensor:
    """Samples as a tensor: images of bytes stay as they are (memory-mapped ones too, on a CPU), all else becomes float32."""
    X = np.asarray(X)
    if X.dtype == np.uint8 and X.ndim > 2:
        return torch.from_numpy(X).to(device)
    return torch.tensor(X, dtype=torch.float32, device=device)


def as_inputs(X: Tensor) -> Tensor:
    """Samples as networks take them: bytes become numbers from 0 to 1."""
    return X.float().div_(255) if X.dtype == torch.uint8 else X


def one_by_one(function: Callable, args: tuple) -> object:
    """As `torch.func.vmap` over the first axis, but called for one entry after another."""
    n = next(len(t) for t in _tensors(args))
    if n == 1:  # without indexing, whose gradient would be copied into zeros
        alone = function(*tree_map(lambda t: t.squeeze(0) if isinstance(t, Tensor) else t, args))
        return tree_map(lambda t: t.unsqueeze(0), alone)
    outputs = [function(*tree_map(lambda t, i=i: t[i] if isinstance(t, Tensor) else t, args)) for i in range(n)]
    return tree_map(lambda *each: torch.stack(each), *outputs)


def may_be_channels_last(module: nn.Module, device: torch.device) -> bool:
    """Whether a network's channels may lie side by side in memory.

    On processors with AVX2 alone the gradient of strided convolutions of single pixels, as in residual networks, would
    write beyond its memory: a defect of oneDNN 3.12, seen with 4 channels and a stride of 2.
    """
    convolutions = (m for m in module.modules() if isinstance(m, nn.Conv2d))
    strided_pixels = any(max(m.kernel_size) == 1 < max(m.stride) for m in convolutions)
    return device.type != "cpu" or not strided_pixels


def channels_last(tensors: object) -> object:
    """Weights of convolutions and images with their channels side by side in memory; all else as it is.

    A batch of images with one channel has no such order of its own; it follows the weights.
    """
    return tree_map(_channels_last, tensors)


def _channels_last(value: object) -> object:
    if not isinstance(value, Tensor) or value.ndim != 4:
        return value
    if value.shape[1] == 1:
        # In memory both orders are one here, and torch leaves strides that say "rows last": the first and largest maps of the
        # network would follow them, and so would all that is done to them.
        return value.reshape(len(value), *value.shape[2:], 1).permute(0, 3, 1, 2)
    return value.contiguous(memory_format=torch.channels_last)


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Context in which convolutions and products are done in bfloat16 where the precision is "mixed"."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "mixed")


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's global generators at a seed, and as they were before afterwards.

    Layers such as dropout draw from them. Seeded anew each epoch, a training continued after an interruption draws what it
    would have drawn.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def compile_once(*modules: nn.Module | None) -> None:
    """Have torch compile the calls of these modules from now on, with the random draws that they would take else."""
    for module in modules:
        if module is not None and module._compiled_call_impl is None:
            module.compile(dynamic=False, options={"fallback_random": True})


@contextmanager
def uncompiled(module: nn.Module) -> Iterator[None]:
    """Call a module and its parts as they are: batches of another size than in training would each be compiled anew."""
    compiled = {m: m._compiled_call_impl for m in module.modules() if m._compiled_call_impl is not None}
    for m in compiled:
        m._compiled_call_impl = None
    try:
        yield
    finally:
        for m, call in compiled.items():
            m._compiled_call_impl = call


@functools.cache
def keep_memory() -> None:
    """Make this process keep the memory of freed tensors, where the C library is glibc; else do nothing.

    By default glibc gives large pieces back to the system at once. Activations of images are such pieces; in each step the
    system then hands out, and clears, the same memory anew, which takes a third of the time of a step.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def _tensors(tree: object) -> Iterator[Tensor]:
    found: list[Tensor] = []
    tree_map(lambda t: found.append(t) if isinstance(t, Tensor) else None, tree)
    return iter(found)
