"""Where the time of a training step on images goes, by kind of operation, as torch's profiler tells it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

from armed import epochs
from armed.layers import convolution
from armed.models import dropout, effects_inside
from armed.optimisers import Adam
from armed.parameters import Parameters
from benchmarks import autoencoder_plain

PARTS = {
    "gathering": r"^aten::(index|index_select)$|^as_inputs$",
    "optimiser": r"^optimiser$|Optimizer\.(step|zero_grad)",
    "convolution, forward": r"^aten::(conv2d|convolution|_convolution|mkldnn_convolution|cudnn_convolution)$",
    "convolution, backward": r"ConvolutionBackward|^aten::convolution_backward",
    "batch normalisation": r"batch_norm|BatchNorm",
    "PReLU": r"prelu|PReLU|PreluKernel",
    "pooling": r"max_pool2d|MaxPool2D",
    "dropout": r"dropout|Dropout",
    "scales and biases": r"^scales and biases$",
    "padding and cropping": r"^aten::(pad|constant_pad_nd)$|ConstantPadNd|SliceBackward|^cropping$",
    "dense layers": r"^aten::(linear|addmm|mm|matmul|bmm)$|AddmmBackward|MmBackward",
    "all else": r"",
}
"""Kinds of operations, and how their names, or those of what called them, look: the innermost that fits counts."""


@contextmanager
def named_parts() -> Iterator[None]:
    """Give names to what consists of several operations of torch that other parts use too."""
    with ExitStack() as stack:
        for owner, function, name in (
            (Adam, "step", "optimiser"),
            (Parameters, "flattened", "optimiser"),
            (dropout, "_dropped", "dropout"),
            (epochs, "as_inputs", "as_inputs"),
            (convolution, "_copied", "cropping"),
            (effects_inside, "scale_and_bias", "scales and biases"),
            (autoencoder_plain, "scaled_and_biased", "scales and biases"),
        ):
            stack.enter_context(mock.patch.object(owner, function, _named(name, getattr(owner, function))))
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
    events = [e for e in profiler.events() if e.device_type == DeviceType.CPU]
    parts = [_part(e) for e in events]
    forward = {
        _call(e): part
        for e, part in zip(events, parts, strict=True)
        if e.sequence_nr >= 0 and _backward_root(e) is None
    }
    found = dict.fromkeys(PARTS, 0.0)
    for event, part in zip(events, parts, strict=True):
        if part == "all else" and (root := _backward_root(event)) is not None:
            part = forward.get(
                (root.fwd_thread, root.sequence_nr), part
            )  # that of the operation whose gradient this is
        found[part] += (event.self_device_time_total if on_gpu else event.self_cpu_time_total) / 1e6
    return found


def _call(event) -> tuple[int, int]:
    return event.thread, event.sequence_nr


def _backward_root(event):
    """The outermost call of the gradient that an event is in; None outside of gradients."""
    found = None
    while event is not None:
        if event.name.startswith("autograd::engine::evaluate_function"):
            found = event
        event = event.cpu_parent
    return found


def _part(event) -> str:
    """The part of the innermost call that has one."""
    while event is not None:
        for part, pattern in PARTS.items():
            if pattern and re.search(pattern, event.name):
                return part
        event = event.cpu_parent
    return "all else"
