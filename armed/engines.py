"""Which engine trains a stack. Loads neither torch nor its compiler before it must."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from armed.errors import ConfigError, did_you_mean
from armed.stack_sizes import SMALL_NETWORK, is_convolutional, n_parameters

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger(__name__)

ENGINES = ("auto", "eager", "compiled")
# Compiling takes 10 to 20 s, once; the eager engine takes its time each time.
WORTH_COMPILING = 12.0
"""Seconds that training step by step would take, from which on it is compiled."""
# Of a step: a constant, and by replica and parameter. Fitted to the networks of the benchmark, on one core.
_SECONDS_PER_STEP, _PER_REPLICA, _PER_PARAMETER = 2.5e-3, 1.5e-5, 6e-8


def eager_seconds(module: nn.Module, n_steps: int, n_replicas: int = 1) -> float:
    """Roughly how long the eager engine takes for steps of a stack, one after another."""
    return n_steps * (_SECONDS_PER_STEP + n_replicas * (_PER_REPLICA + _PER_PARAMETER * n_parameters(module)))


def compiles(
    engine: str, device: str, module: nn.Module, n_steps: int, n_replicas: int = 1, optimiser: str = "adam"
) -> bool:
    """Whether to train compiled.

    Parameters
    ----------
    engine : {"auto", "eager", "compiled"}
        "auto" compiles where there is a compiler, the network is small and the training long enough. Not for networks of
        convolutions, which train one at a time: see `epoch_runner`.
    device : str
    module : torch.nn.Module
    n_steps : int
        Training steps that the eager engine would take one after another, those of other fits that use the same compiled
        step among them.
    n_replicas : int
        Replicas of a stack.
    optimiser : str
        Only "adam" has a compiled form.

    Raises
    ------
    ConfigError
        An unknown engine, or "compiled" without a compiler or with another optimiser.
    """
    if engine not in ENGINES:
        raise ConfigError(
            f"engine is '{engine}'; expected one of {', '.join(ENGINES)}.{did_you_mean(str(engine), ENGINES)}"
        )
    if is_convolutional(module):
        return False
    if optimiser != "adam":
        if engine == "compiled":
            raise ConfigError(
                f"engine='compiled' has optimiser 'adam' only, but '{optimiser}' was given; take engine='eager' or 'auto'."
            )
        return False
    seconds = eager_seconds(module, n_steps, n_replicas)
    worthwhile = seconds >= WORTH_COMPILING and n_parameters(module) <= SMALL_NETWORK
    if engine == "eager" or (engine == "auto" and not worthwhile):
        return False
    from armed.compiled import compiler  # takes a second to import

    if device != "cpu" or compiler() is not None:
        return True
    if engine == "compiled":
        raise ConfigError(
            "engine='compiled' needs a C++ compiler, and none was found (g++ or clang++ on the PATH, or named by the variable "
            "CXX). Install one, or take engine='eager', which gives the same results up to rounding."
        )
    log.warning(
        "No C++ compiler was found (g++, clang++ or $CXX): training step by step, which takes several times longer."
    )
    return False


def epoch_runner(compiled: bool, engine: str, module: nn.Module) -> Callable:
    """What runs an epoch of a stack, as `armed.epochs.eager_epoch` does.

    The calls of a network of convolutions are compiled by torch where the engine is "compiled", and on a GPU; on a CPU that
    would gain little over the library's own convolutions, after half a minute of compiling.
    """
    if is_convolutional(module):
        from armed.epochs import convolutional_epoch

        on_gpu = next(module.parameters()).device.type == "cuda"
        return partial(convolutional_epoch, compiled=engine == "compiled" or (on_gpu and engine == "auto"))
    if compiled:
        from armed.compiled import CompiledEpochs

        return CompiledEpochs(or_eager=engine == "auto")
    from armed.epochs import eager_epoch

    return eager_epoch
