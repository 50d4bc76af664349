"""Where the time of a training step on images goes, by kind of operation, as torch's profiler tells it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

from armed import epochs
from armed.models import dropout
from armed.optimisers import Adam

PARTS = {
    "gathering": r"^aten::(index|index_select)$|^as_inputs$",
    "optimiser": r"^optimiser$|Optimizer\.(step|zero_grad)",
    "convolution, forward": r"^aten::(conv2d|convolution|_convolution|mkldnn_convolution|cudnn_convolution)$",
    "convolution, backward": r"ConvolutionBackward|^aten::convolution_backward",
    "batch normalisation": r"batch_norm|BatchNorm",
    "PReLU": r"prelu|PReLU|PreluKernel",
    "pooling": r"max_pool2d|MaxPool2D",
    "dropout": r"dropout|Dropout",
    "dense layers": r"^aten::(linear|addmm|mm|matmul|bmm)$|AddmmBackward|MmBackward",
    "all else": r"",
}
"""Kinds of operations, and how their names, or those of what called them, look: the innermost that fits counts."""


@contextmanager
def named_parts() -> Iterator[None]:
    """Give names to what consists of several operations of torch that other parts use too."""
    with (
        mock.patch.object(Adam, "step", _named("optimiser", Adam.step)),
        mock.patch.object(dropout, "_dropped", _named("dropout", dropout._dropped)),
        mock.patch.object(epochs, "as_inputs", _named("as_inputs", epochs.as_inputs)),
    ):
        yield


def _named(name: str, function: Callable) -> Callable:
    def call(*args, **kwargs):
        with record_function(name):
            return function(*args, **kwargs)

    return call


def seconds_of_parts(function: Callable[[], None], device: torch.device) -> dict[str, float]:
    """Seconds of each of `PARTS` while a function runs: of the processor that called, or of the GPU's kernels."""
    on_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as profiler:
        function()
        if on_gpu:
            torch.cuda.synchronize(device)
    found = dict.fromkeys(PARTS, 0.0)
    for event in profiler.events():
        if event.device_type == DeviceType.CPU:
            seconds = event.self_device_time_total if on_gpu else event.self_cpu_time_total
            found[_part(event)] += seconds / 1e6
    return found


def _part(event) -> str:
    """The part of the innermost call that has one."""
    while event is not None:
        for part, pattern in PARTS.items():
            if pattern and re.search(pattern, event.name):
                return part
        event = event.cpu_parent
    return "all else"
