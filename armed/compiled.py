"""The compiled engine: one replica's training step, traced, given a replica axis (`armed.batching`) and compiled.

The whole step of all replicas (forward and backward passes, the optimiser) becomes a few loops over contiguous vectors with
one entry a replica. Results differ from those of the eager engine by rounding.
"""

from __future__ import annotations

import logging
import os
import shutil
import warnings
from collections.abc import Callable, Mapping
from types import BuiltinFunctionType, FunctionType

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from armed import step_cache
from armed.batching import ReplicaLast, replica_last
from armed.epochs import Draws, eager_epoch, mean_loss
from armed.errors import UnsupportedLayerError
from armed.layers.random_effects import RandomEffects
from armed.losses import Objective
from armed.optimisers import Adam, step_size
from armed.parameters import Parameters
from armed.programs import Batch, Program, State
from armed.stack import Stack

log = logging.getLogger(__name__)

# Steps of this process: variants of a method, and the stacks of one fit, often share one.
_STEPS: dict[str, Callable] = {}
# Attributes of any module, which do not tell one step from another.
_OF_MODULES = {*vars(nn.Module()), "check_inputs"}


def compiler() -> str | None:
    """Path of the C++ compiler that compiled steps for the processor need; None where there is none."""
    named = (os.environ.get("CXX"), "g++", "clang++")  # as torch looks for it
    return next((path for name in named if name and (path := shutil.which(name))), None)


class CompiledEpochs:
    """Runs epochs of stacks in compiled steps; called as `armed.epochs.eager_epoch` is. Compiles at the first call.

    Parameters
    ----------
    or_eager : bool
        Train step by step where the step cannot be compiled, and say so; else raise `UnsupportedLayerError`.
    """

    def __init__(self, or_eager: bool = False) -> None:
        self.or_eager = or_eager
        self._run: Callable | None = None

    def __call__(self, state: State, program: Program, draws: Draws) -> np.ndarray:
        """Take the steps of an epoch; mean loss of each replica (R,)."""
        if self._run is None:
            try:
                step = _compile(state, program, draws)
                self._run = lambda *epoch: _run_epoch(step, *epoch)
            except Exception as error:
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                if not self.or_eager:
                    raise UnsupportedLayerError(
                        f"The training step of this network cannot be compiled ({reason}). Take engine='eager'."
                    ) from error
                log.warning("The training step cannot be compiled (%s): training step by step.", reason)
                self._run = eager_epoch
        return self._run(state, program, draws)


def _run_epoch(step: Callable, state: State, program: Program, draws: Draws) -> np.ndarray:
    tables = [draws.table(name, last=True) for name in ("ids", "noise", "keep")]
    ids, noise, keep = (t.to(state.stack.device) for t in tables)
    active = torch.from_numpy(draws.active()).to(state.stack.device)
    work, samples = _working_state(state), _sample_matrix(state)
    constant = tree_flatten((work, _hyper(state)))[0]
    taken = torch.arange(1, draws.longest + 1, dtype=torch.float64, device=state.stack.device)
    sizes = step_size(state.hyper["learning_rate"], state.main.steps + taken[:, None])
    shape = (len(samples), *ids.shape[1:])
    for i in range(draws.longest):
        batch = samples.index_select(1, ids[i].reshape(-1)).view(shape)
        step(*constant, sizes[i], batch, noise[i], keep[i], active[i])
    _take_back(state, work, draws.n_steps)
    return mean_loss(work["total"], draws)


# Whose modules every step is traced from, beside those of the network and the program.
_TRACED_FROM = (State, Stack, Adam, CompiledEpochs, Objective, RandomEffects, ReplicaLast)


class _OneParameters(Parameters):
    """Of one replica in a traced step: new values replace the old ones, as a trace has no changes in place."""

    def assign(self, flat: Tensor) -> None:
        self.flat = flat
        self._bind()


class _OneAdam(Adam):
    """Of one replica in a traced step: with a step size that is given, as to compute it takes longer than the step itself."""

    def __init__(self, parameters: Parameters, epsilon: float, moments: Mapping[str, Tensor], size: Tensor) -> None:
        super().__init__(parameters, size, epsilon)
        self.m, self.v = moments["m"], moments["v"]

    def size(self) -> Tensor:
        return self.learning_rate


class _OneReplica(Stack):
    """Stands in for the stack while one replica's step is traced: nothing to map over."""

    def __init__(
        self, stack: Stack, buffers: dict[str, Tensor], *, main: Tensor, adversary: Tensor | None = None
    ) -> None:
        self.module = stack.module
        self.main = _OneParameters(main, stack.main.shapes)
        self.adversary = None if adversary is None else _OneParameters(adversary, stack.adversary.shapes)
        self.buffers = buffers
        self.convolutional = self.alone = False
        self._tied, self._l1 = stack._tied, stack._l1

    def vmap(self, function: Callable, *args: object) -> object:
        return function(*args)


def _working_state(state: State) -> dict:
    """Copies of all that a step changes, the replica axis last."""
    work = {"main": _of_optimiser(state.main), "alive": state.alive.clone()}
    if state.adversary is not None:
        work["adversary"] = _of_optimiser(state.adversary)
    work["buffers"] = {name: _last(b) for name, b in state.stack.buffers.items()}
    work["total"] = torch.zeros(state.stack.size, device=state.stack.device)
    return work


def _of_optimiser(adam: Adam) -> dict[str, Tensor]:
    vectors = {"flat": adam.parameters.flat, "m": adam.m, "v": adam.v}
    return {name: _last(adam.parameters.by_replica(t)) for name, t in vectors.items()}


def _last(t: Tensor) -> Tensor:
    """A contiguous copy with the first axis last. Cloned: where an axis has size 1, `contiguous` would not copy."""
    return t.detach().movedim(0, -1).contiguous().clone()


def _take_back(state: State, work: dict, n_steps: np.ndarray) -> None:
    """Write the results of an epoch into the stack and its optimisers."""
    for name in ("main", "adversary"):
        if name in work:
            adam = getattr(state, name)
            new = {k: adam.parameters.from_matrix(work[name][k].T) for k in ("flat", "m", "v")}
            adam.parameters.assign(new.pop("flat"))
            adam.load(new | {"steps": adam.steps + torch.from_numpy(n_steps).to(adam.steps)})
    state.alive = work["alive"]
    for name, b in state.stack.buffers.items():
        b.copy_(work["buffers"][name].movedim(-1, 0))


def _hyper(state: State) -> dict[str, Tensor]:
    """Hyperparameters, the replica axis last."""
    return {name: _last(t) for name, t in state.hyper.items()}


def _sample_matrix(state: State) -> Tensor:
    """(p + 2, N): features, label and cluster of the pool, so that one look-up gathers a batch."""
    pool = state.pool
    return torch.cat([pool.X.flatten(1).T, pool.y[None], pool.codes[None].float()]).contiguous()


def _compile(state: State, program: Program, draws: Draws) -> Callable:
    """The compiled step; called with the tensors that `_one_step` takes, flattened, each with a replica axis at its end."""
    structure = _structure(state, program, draws)
    if structure in _STEPS:
        return _STEPS[structure]
    step = step_cache.known(structure) if structure is not None else None
    step = step or _traced_and_compiled(state, program, draws, structure)
    if structure is not None:
        _STEPS[structure] = step
    return step


def _structure(state: State, program: Program, draws: Draws) -> str | None:
    """What tells two steps apart without tracing them; None where that cannot be told."""
    modules = list(state.stack.module.named_modules())
    holders = [*(m for _, m in modules), program]
    said = [_said(vars(holder)) for holder in holders]
    written = step_cache.sources({*map(type, holders), *_TRACED_FROM})
    if None in said or written is None:
        return None
    kinds = [(name, _name(type(m)), m.extra_repr()) for name, m in modules]
    shapes = [(name, tuple(t.shape), name in state.stack.buffers) for name, t in state.stack.state_views().items()]
    width, epsilon, device = draws.ids[0].shape[1], state.main.epsilon, str(state.stack.device)
    parts = (kinds, _name(type(program)), said, shapes, tuple(state.pool.X.shape[1:]), width, epsilon, device)
    hyper = [(name, tuple(t.shape[1:])) for name, t in state.hyper.items()]
    return step_cache.digest(parts, hyper, written)


def _name(thing: object) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


def _said(value: object) -> str | None:
    """Text that tells a value from others; None for kinds that do not show all that they are."""
    if isinstance(value, Mapping):
        parts = {k: _said(v) for k, v in value.items() if k not in _OF_MODULES}
        return None if None in parts.values() else repr(parts)
    if isinstance(value, tuple | list):
        parts = [_said(v) for v in value]
        return None if None in parts else repr(parts)
    if isinstance(value, Tensor):
        return repr(value.tolist()) if value.numel() < 1000 else None
    if isinstance(value, FunctionType | BuiltinFunctionType | type):
        return _name(value) if str(value.__module__).split(".")[0] in step_cache.OURS else None
    if isinstance(value, int | float | str | None):
        return repr(value)
    if type(value).__module__.split(".")[0] in step_cache.OURS[:2]:
        return repr(value) if type(value).__repr__ is not object.__repr__ else _name(type(value))
    return None


def _traced_and_compiled(state: State, program: Program, draws: Draws, structure: str | None) -> Callable:
    width = draws.ids[0].shape[1]
    work, hyper = (tree_map(lambda t: t[..., 0].clone(), t) for t in (_working_state(state), _hyper(state)))
    drawn = (torch.from_numpy(next(iter(a))).to(state.stack.device) for a in (draws.noise[0], draws.keep[0]))
    samples, size = _sample_matrix(state)[:, :width], hyper["learning_rate"].clone()
    leaves, form = tree_flatten((work, hyper, size, samples, *drawn, torch.ones_like(work["alive"])))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own tracing and compiling; nothing a user could act on
        traced = _traced(_one_step(state, program), leaves, form)
        example = tuple(t.unsqueeze(-1).expand(*t.shape, state.stack.size).contiguous() for t in leaves)
        batched = _plain(replica_last(traced, state.stack.size), example)
        return step_cache.compiled(_in_place(batched, len(tree_flatten(work)[0])), example, structure)


def _one_step(state: State, program: Program) -> Callable:
    """The step of one replica as a function of tensors: what it works on, to what that has become."""
    shape, epsilon = state.pool.X.shape[1:], state.main.epsilon

    def step(
        work: dict, hyper: dict, size: Tensor, samples: Tensor, noise: Tensor, keep: Tensor, active: Tensor
    ) -> dict:
        buffers = {name: b.clone() for name, b in work["buffers"].items()}
        names = [name for name in ("main", "adversary") if name in work]
        one = _OneReplica(state.stack, buffers, **{name: work[name]["flat"] for name in names})
        optimisers = {name: _OneAdam(getattr(one, name), epsilon, work[name], size) for name in names}
        single = State(one, optimisers["main"], optimisers.get("adversary"), hyper, work["alive"])
        X = samples[:-2].T.reshape(-1, *shape)
        loss = program.step(single, Batch(X, samples[-2], samples[-1].long(), noise, keep, active))
        result = {name: {"flat": a.parameters.flat, "m": a.m, "v": a.v} for name, a in optimisers.items()}
        result["alive"] = single.alive
        result["buffers"] = {name: torch.where(active, b, work["buffers"][name]) for name, b in buffers.items()}
        result["total"] = work["total"] + torch.where(active, loss, 0.0)
        return {name: result[name] for name in work}

    return step


def _traced(step: Callable, leaves: list[Tensor], form: object) -> fx.GraphModule:
    """Graph of ATen operations without changes in place."""
    from torch._decomp import core_aten_decompositions  # a second to import, and seldom needed
    from torch.func import functionalize
    from torch.fx.experimental.proxy_tensor import make_fx

    def flat(*tensors: Tensor) -> list[Tensor]:
        return tree_flatten(step(*tree_unflatten(tensors, form)))[0]

    # Twice: gradients are traced first, what changes in place (running statistics) is written out after.
    table = core_aten_decompositions() | {torch.ops.aten.native_batch_norm.default: _batch_norm}
    traced = make_fx(flat, decomposition_table=table)(*leaves)
    traced = make_fx(functionalize(traced), decomposition_table=table)(*leaves)
    traced.graph.eliminate_dead_code()
    traced.recompile()
    return traced


def _batch_norm(
    x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor | None, variance: Tensor | None, *how: object
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch normalisation that changes its running statistics by operations of their own; torch's changes them untold."""
    if mean is None:
        return torch.ops.aten._native_batch_norm_legit.no_stats(x, weight, bias, *how)
    out, *saved, new_mean, new_variance = torch.ops.aten._native_batch_norm_legit_functional(
        x, weight, bias, mean, variance, *how
    )
    mean.copy_(new_mean)
    variance.copy_(new_variance)
    return (out, *saved)


def _plain(module: fx.GraphModule, example: tuple[Tensor, ...]) -> fx.GraphModule:
    """Write out the operations that `armed.batching` left to vmap, which torch's export cannot do."""
    from torch.fx.experimental.proxy_tensor import make_fx

    mapped = [n for n in module.graph.nodes if getattr(n.target, "__module__", None) == replica_last.__module__]
    return make_fx(module)(*example) if mapped else module


def _in_place(module: fx.GraphModule, n_state: int) -> fx.GraphModule:
    """Write the first outputs over the inputs that they are the next values of."""
    graph = module.graph
    inputs = [n for n in graph.nodes if n.op == "placeholder"][:n_state]
    (output,) = (n for n in graph.nodes if n.op == "output")
    with graph.inserting_before(output):
        for old, new in zip(inputs, output.args[0], strict=True):
            if old is not new:
                graph.call_function(torch.ops.aten.copy_.default, (old, new))
    output.args = ((),)
    module.recompile()
    return module
