"""Replicas of one network, trained and evaluated together.

Every parameter carries a replica axis first. `torch.func.vmap` runs the network on all replicas at once, so that the cost of
Python and of dispatching small operations is paid once for hundreds of folds, seeds and settings. Replicas share no
operation that mixes them: a replica in a stack is the replica trained alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_map

from armed.convolutional import (
    EVALUATED_AT_ONCE,
    as_inputs,
    autocast,
    channels_last,
    may_be_channels_last,
    one_by_one,
    uncompiled,
)
from armed.errors import UnsupportedLayerError
from armed.parameters import Parameters, check_fit, named_tensors
from armed.stack_sizes import SMALL_NETWORK, is_convolutional, trains_alone

# Floats held at once for one evaluated batch of replicas, counting a sample as about this many activations.
_EVALUATION_FLOATS = 2e7
_ACTIVATIONS_PER_SAMPLE = 64
# Rows that would take more of them are evaluated some after others, by so many numbers (features, clusters) at once.
_ROWS_FLOATS, _AT_ONCE_FLOATS = 5e7, 1e7
# Rows are filled up to a multiple of this, so that a row's result does not depend on where it stands among them.
_ROW_BLOCK = 64


class Stack:
    """R replicas of one module.

    Parameters
    ----------
    module : torch.nn.Module
        Gives the structure; its own weights are not used. Called as ``module(X, clusters, noise=..., adversary=...)``, with
        ``keep=...`` too where it has an `n_dropout` above 0, and returns a `MixedOutput`.
    state : dict of str to Tensor
        Parameters and buffers of all replicas, each (R, ...).

    Raises
    ------
    DataError
        The state is not one of this module.

    Attributes
    ----------
    convolutional : bool
        Whether the module has convolutions (`armed.convolutional`).
    alone : bool
        Whether it is called for one replica after another: so large that it keeps a processor busy.
    precision : {"float32", "mixed"}
        Of the convolutions and products in training steps of such a module.
    """

    def __init__(self, module: nn.Module, state: dict[str, Tensor]) -> None:
        self.module = module
        self.convolutional = is_convolutional(module)
        self.alone = trains_alone(module)
        self._channels_last = may_be_channels_last(module, next(iter(state.values())).device)
        self.precision = "float32"
        self.module.check_inputs = False
        check_fit(module, state)
        # Frozen parameters are held with the buffers: no step changes them.
        names = {name for name, p in module.named_parameters() if p.requires_grad}
        adversary = {name: t for name, t in state.items() if name in names and name.startswith("adversary.")}
        main = {name: t for name, t in state.items() if name in names and name not in adversary}
        self.main = Parameters.of(main)
        self.adversary = Parameters.of(adversary) if adversary else None
        self.buffers = {name: t.clone() for name, t in state.items() if name not in names}
        self.size = len(next(iter(main.values())))
        # Looking for tied weights at each call costs more than a small network itself.
        self._tied = len(list(module.named_parameters(remove_duplicate=False))) > len(list(module.named_parameters()))
        self._l1 = {f"{name}.weight": m.l1 for name, m in module.named_modules() if getattr(m, "l1", 0)}

    @classmethod
    def build(cls, factory: Callable[[], nn.Module], seeds: Sequence[int], device: str = "cpu") -> Stack:
        """Build each replica by calling `factory` with torch's global generator at its seed."""
        states: list[dict[str, Tensor]] = []
        with torch.random.fork_rng(devices=[]):
            for seed in seeds:
                torch.manual_seed(seed)
                module = factory()
                states.append({name: t.detach() for name, t in named_tensors(module)})
        stacked = {name: torch.stack([s[name] for s in states]).to(device) for name in states[0]}
        return cls(module.to(device), stacked)

    @classmethod
    def of(cls, module: nn.Module, copies: int = 1) -> Stack:
        """Copies of a module with the weights that it has."""
        return cls(module, {name: torch.stack([t.detach()] * copies) for name, t in named_tensors(module)})

    @property
    def device(self) -> torch.device:
        return self.main.flat.device

    def state(self) -> dict[str, Tensor]:
        """Copies of all parameters and buffers, each (R, ...)."""
        parts = [self.main.detached(), self.adversary.detached() if self.adversary else {}, self.buffers]
        return {name: t.clone() for part in parts for name, t in part.items()}

    def __reduce__(self) -> tuple:
        # Views of one flat vector would come back from pickle as copies of their own, which no optimiser would reach.
        return Stack, (self.module, self.state())

    def load(self, state: dict[str, Tensor]) -> None:
        """Overwrite parameters and buffers in place."""
        with torch.no_grad():
            for name, t in self.state_views().items():
                t.copy_(state[name])

    def state_views(self) -> dict[str, Tensor]:
        """The tensors themselves, not copies."""
        adversary = self.adversary.detached() if self.adversary else {}
        return {**self.main.detached(), **adversary, **self.buffers}

    def vmap(self, function: Callable, *args: object) -> object:
        """Map `function` over the replica axis of `args`."""
        if self.alone:
            return one_by_one(function, args)
        try:
            with sdpa_kernel(SDPBackend.MATH):  # torch has no rule for mapping the other forms of attention
                return vmap(function, randomness="error")(*args)
        except RuntimeError as error:
            if "randomness" in str(error):
                raise UnsupportedLayerError(
                    "A layer of the network draws random numbers from torch's global generator in training, so that a replica "
                    "would depend on the others of its stack. Of random layers nn.Dropout can be used, as a module of its own "
                    "(its draws come from each replica's generator); F.dropout and other forms of dropout cannot."
                ) from error
            if "atching rule" not in str(error) and "not yet support" not in str(error):
                raise
            raise UnsupportedLayerError(
                "A layer of the network cannot be trained in a stack of replicas, because torch.func.vmap has no rule for "
                f"one of its operations ({str(error).splitlines()[0]}). nn.GRU and nn.LSTM are such layers: write them as a "
                "loop over nn.GRUCell or nn.RNNCell."
            ) from error

    def call(self, params: dict[str, Tensor], buffers: dict[str, Tensor], *args: object, **kwargs: object):
        """The module's output for one replica (inside `vmap`)."""
        if not self.convolutional:
            return functional_call(self.module, (params, buffers), args, kwargs, tie_weights=self._tied)
        with self._precision():
            out = functional_call(self.module, (self._ordered(params), buffers), args, kwargs, tie_weights=self._tied)
        numbers = {name: getattr(out, name).float() for name in ("fixed", "random", "mixed", "kl")}
        if out.mixed is out.fixed:
            numbers["mixed"] = numbers["fixed"]  # programs tell by this that there are no random effects
        if out.reconstruction is not None:
            numbers["reconstruction"] = tree_map(lambda t: None if t is None else t.float(), out.reconstruction)
        return out._replace(**numbers)

    def _ordered(self, params: dict) -> dict:
        return channels_last(params) if self._channels_last else params

    def _precision(self) -> torch.autocast:
        return autocast(self.precision if self.module.training else "float32", self.device)

    def call_training(
        self, params: dict, buffers: dict, X: Tensor, codes: Tensor | None, noise: Tensor, keep: Tensor
    ) -> object:
        """The module's output in training, with the draws of the batch (without the adversary, inside `vmap`)."""
        draws = {"noise": noise if noise.numel() else None} | ({"keep": keep} if keep.numel() else {})
        return self.call(params, buffers, X, codes, adversary=False, **draws)

    def call_adversary(self, params: dict[str, Tensor], activations: Tensor | tuple[Tensor, ...]) -> Tensor:
        """The adversary's logits for one replica (inside `vmap`)."""
        local = {name.removeprefix("adversary."): t for name, t in params.items()}
        if not self.convolutional:
            return functional_call(self.module.adversary, local, (activations,), tie_weights=False)
        with self._precision():
            logits = functional_call(self.module.adversary, self._ordered(local), (activations,), tie_weights=False)
        return logits.float()

    def penalty(self, params: dict[str, Tensor]) -> Tensor | float:
        """Sum of the absolute weights of layers that carry a factor `l1`, times this factor, of one replica."""
        return sum(l1 * params[name].abs().sum() for name, l1 in self._l1.items())

    def replica(self, r: int) -> nn.Module:
        """A copy of the module with the weights of replica `r`, in evaluation mode."""
        module = copy.deepcopy(self.module)
        state = self.state_views()
        with torch.no_grad():
            for name, t in named_tensors(module):  # not load_state_dict: tied weights, buffers that are not persistent
                t.copy_(state[name][r])
        module.check_inputs = True
        return module.eval()

    def evaluate(
        self,
        function: Callable,
        X: Tensor,
        rows: Sequence[np.ndarray],
        clusters: Sequence[np.ndarray],
        replicas: Sequence[int] | None = None,
        then: Callable | None = None,
    ) -> list[dict[str, np.ndarray]]:
        """Evaluate every replica on rows of its own, in evaluation mode.

        Parameters
        ----------
        function : callable
            ``function(stack, params, buffers, X, clusters) -> dict`` of tensors with one row a sample, for one replica.
        X : Tensor
            (N, ...) pool (`armed.convolutional.as_pool`).
        rows : sequence of array
            For each replica the row ids into `X`; lengths may differ.
        clusters : sequence of array
            For each replica, codes (n,) int, or Z (n, q) float: an array, or what gives one for a slice of the rows.
        replicas : sequence of int, optional
            Which replicas, in the order of `rows`; all where not given.
        then : callable, optional
            ``then(outputs, rows) -> dict`` of what is wanted of the outputs (NumPy arrays) of one replica's rows, or some of
            them: of many rows, outputs for each cluster are too many to hold.

        Returns
        -------
        list of dict
            For each replica the function's outputs as NumPy arrays.
        """
        by_cluster = getattr(self.module, "n_clusters", 0) if function is cluster_logits else 0
        return self._in_blocks(
            lambda *part: self._outputs(function, *part), X, rows, clusters, replicas, then, width=by_cluster
        )

    def input_gradients(
        self,
        X: Tensor,
        rows: Sequence[np.ndarray],
        clusters: Sequence[np.ndarray],
        replicas: Sequence[int] | None = None,
    ) -> list[np.ndarray]:
        """|d fixed / d X| (n, p) of every replica, averaged over the outputs; arguments as for `evaluate`."""
        found = self._in_blocks(self._input_gradients, X, rows, clusters, replicas)
        return [out["gradient"] for out in found]

    def _in_blocks(
        self,
        function: Callable,
        X: Tensor,
        rows: Sequence,
        clusters: Sequence,
        replicas: Sequence[int] | None,
        then: Callable | None = None,
        width: int = 0,
    ) -> list[dict]:
        """Call ``function(state, X, clusters)`` for blocks of replicas; for each replica its own rows of what it returns.

        The function returns no more than `width` numbers of a row, or as many as other things have.
        """
        self.module.eval()
        index = list(range(self.size)) if replicas is None else list(replicas)
        then = then or (lambda out, rows: out)
        # Replicas go together with those of as many rows: another shape may take another kernel, which rounds differently.
        groups: dict[int, list[int]] = {}
        results: list = [None] * len(rows)
        for i, (r, c) in enumerate(zip(rows, clusters, strict=True)):
            at_once = self._rows_at_once(X, len(r), c, width)
            if at_once is None:
                groups.setdefault(_ROW_BLOCK * max(1, -(-len(r) // _ROW_BLOCK)), []).append(i)
            else:
                results[i] = self._in_pieces(function, X, r, c, index[i], at_once, then)
        for length, members in groups.items():
            per_pass = max(2, int(_EVALUATION_FLOATS / (length * _ACTIVATIONS_PER_SAMPLE)))
            for start in range(0, len(members), per_pass):
                part = members[start : start + per_pass]
                if len(part) == 1 and self.main.flat.numel() <= SMALL_NETWORK * self.size:
                    part = part * 2  # so does a batch of one matrix
                ids = np.stack([_pad(rows[i], length) for i in part])
                membership = np.stack([_pad(np.asarray(clusters[i]), length) for i in part])
                out = self._of_block(function, X, ids, membership, [index[i] for i in part])
                for position, i in enumerate(part):
                    results[i] = then({name: t[position, : len(rows[i])] for name, t in out.items()}, rows[i])
        return results

    def _rows_at_once(self, X: Tensor, n: int, clusters: np.ndarray, width: int) -> int | None:
        """How many of n rows to evaluate at a time; None for all of them."""
        if self.convolutional:
            return EVALUATED_AT_ONCE
        of_module, of_z = getattr(self.module, "n_outputs", 0), clusters.shape[1] if clusters.ndim > 1 else 0
        width = max(width, of_module, of_z, X[:1].numel(), _ACTIVATIONS_PER_SAMPLE)
        if n * width <= _ROWS_FLOATS:
            return None
        return _ROW_BLOCK * max(1, int(_AT_ONCE_FLOATS / width / _ROW_BLOCK))

    def _in_pieces(
        self,
        function: Callable,
        X: Tensor,
        rows: np.ndarray,
        clusters: np.ndarray,
        replica: int,
        at_once: int,
        then: Callable,
    ) -> dict[str, np.ndarray]:
        """Outputs of one replica, some rows after others: the outputs of layers on all of them might not fit in memory."""
        found = []
        with uncompiled(self.module):
            for start in range(0, max(1, len(rows)), at_once):
                p = slice(start, start + at_once)
                out = self._of_block(function, X, rows[p][None], clusters[p][None], [replica])
                found.append(then({name: t[0] for name, t in out.items()}, rows[p]))
        return {name: np.concatenate([out[name] for out in found]) for name in found[0]}

    def _of_block(
        self, function: Callable, X: Tensor, ids: np.ndarray, membership: np.ndarray, replicas: list[int]
    ) -> dict[str, np.ndarray]:
        """Outputs (R, n, ...) of some replicas on rows (R, n)."""
        chosen = torch.as_tensor(replicas, device=X.device)
        clusters = torch.as_tensor(membership, device=X.device)
        clusters = clusters.float() if clusters.is_floating_point() else clusters.long()
        chosen = (
            chosen if len(replicas) > 1 else slice(replicas[0], replicas[0] + 1)
        )  # a view: no copy of a large network
        state = {name: t[chosen] for name, t in self.state_views().items()}
        out = function(state, as_inputs(X[torch.as_tensor(ids, device=X.device)]), clusters)
        return {name: t.detach().cpu().numpy() for name, t in out.items()}

    def _outputs(self, function: Callable, state: dict, X: Tensor, clusters: Tensor) -> dict[str, Tensor]:
        params = {name: t for name, t in state.items() if name not in self.buffers}
        buffers = {name: t for name, t in state.items() if name in self.buffers}
        return self.vmap(lambda p, b, x, c: function(self, p, b, x, c), params, buffers, X, clusters)

    def _input_gradients(self, state: dict, X: Tensor, clusters: Tensor) -> dict[str, Tensor]:
        X.requires_grad_()  # not torch.func.grad, which loads torch's compiler

        def fixed(stack: Stack, params: dict, buffers: dict, x: Tensor, c: Tensor) -> dict[str, Tensor]:
            return {"fixed": stack.call(params, buffers, x, c, adversary=False).fixed}

        out = self._outputs(fixed, state, X, clusters)["fixed"]
        grads = [torch.autograd.grad(out[..., k].sum(), X, retain_graph=True)[0].abs() for k in range(out.shape[-1])]
        return {"gradient": torch.stack(grads).mean(0)}


def predictions(stack: Stack, params: dict, buffers: dict, X: Tensor, clusters: Tensor) -> dict[str, Tensor]:
    """Fixed and mixed outputs (n, K) of one replica, for `Stack.evaluate`."""
    with torch.no_grad():
        out = stack.call(params, buffers, X, clusters, adversary=False, **_labels_alone(stack))
    return {"fixed": out.fixed, "mixed": out.mixed}


def _labels_alone(stack: Stack) -> dict[str, bool]:
    """What a call of an autoencoder's takes to leave out the images."""
    return {"images": False} if hasattr(getattr(stack.module, "net", None), "code") else {}


def reconstructions(stack: Stack, params: dict, buffers: dict, X: Tensor, clusters: Tensor) -> dict[str, Tensor]:
    """Codes (n, L), and fixed and mixed images (n, C, H, W), of one autoencoder, for `Stack.evaluate`."""
    with torch.no_grad():
        made = stack.call(params, buffers, X, clusters, adversary=False).reconstruction
    return {"latent": made.latent, "fixed": made.fixed, "mixed": made.mixed}


def codes(stack: Stack, params: dict, buffers: dict, X: Tensor, clusters: Tensor) -> dict[str, Tensor]:
    """Codes (n, L) of one autoencoder, for `Stack.evaluate`."""
    with torch.no_grad():
        made = stack.call(params, buffers, X, clusters, adversary=False, images=False).reconstruction
    return {"latent": made.latent}


def cluster_logits(stack: Stack, params: dict, buffers: dict, X: Tensor, clusters: Tensor) -> dict[str, Tensor]:
    """The adversary's logits (n, q) of one replica, for `Stack.evaluate`."""
    with torch.no_grad():
        return {"cluster_logits": stack.call(params, buffers, X, clusters, **_labels_alone(stack)).cluster_logits}


def _pad(values: np.ndarray, length: int) -> np.ndarray:
    """Fill up with the first entry (any valid one would do: the results of these rows are dropped)."""
    if len(values) == length:
        return values
    fill = np.repeat(
        values[:1] if len(values) else np.zeros_like(values, shape=(1, *values.shape[1:])),
        length - len(values),
        axis=0,
    )
    return np.concatenate([values, fill])
