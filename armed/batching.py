"""From the traced step of one replica to that of many: every tensor gets a replica axis, last.

`torch.func.vmap` puts the axis first, where products become batched matrix products of matrices too small for them. With
the axis last, a product is a sum over a short axis of products of long contiguous vectors, one entry a replica, and a
compiler fuses it with what is around it. The rules are few, because axes counted from the front keep their places:

- an operation on each element takes tensors as they are (shapes align at the replica axis, and to the left of it as before);
- axes are counted from the front, and shapes get the number of replicas at their end;
- matrix products are written out as products and sums;
- any other operation is mapped by `torch.func.vmap`.

Tensors that no replica's own data went into (constants) have no replica axis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, fx
from torch.func import vmap
from torch.utils._pytree import tree_flatten, tree_unflatten

aten = torch.ops.aten
Rule = Callable[["_Call"], object]
RULES: dict[str, Rule] = {}
# Not marked as such by torch, but done on each element.
_ON_ELEMENTS = {"alias", "detach", "clone", "_to_copy", "full_like", "zeros_like", "ones_like", "fill"}


def replica_last(traced: fx.GraphModule, n_replicas: int) -> fx.GraphModule:
    """Give every input of a traced function, and all that follows from it, a replica axis.

    Parameters
    ----------
    traced : torch.fx.GraphModule
        Of `make_fx`: operations of ATen, free of in-place changes, on the tensors of one replica.
    n_replicas : int

    Returns
    -------
    torch.fx.GraphModule
        Inputs and outputs as those of `traced`, each with an axis of `n_replicas` at its end.
    """
    return ReplicaLast(traced, n_replicas).transform()


class ReplicaLast(fx.Transformer):
    """Rewrites a graph node by node."""

    def __init__(self, traced: fx.GraphModule, n_replicas: int) -> None:
        super().__init__(traced)
        self.n_replicas = n_replicas
        self.replicated: set[fx.Node] = set()

    def run_node(self, n: fx.Node) -> object:
        self.node = n
        if n.op == "placeholder" or any(a in self.replicated for a in n.all_input_nodes):
            self.replicated.add(n)
        return super().run_node(n)

    def call_function(self, target: Callable, args: tuple, kwargs: dict) -> object:
        if self.node not in self.replicated or not isinstance(target, torch._ops.OpOverload):
            return super().call_function(target, args, kwargs)
        return _Call(self, target, args, kwargs).mapped()

    def output(self, target: str, args: tuple, kwargs: dict) -> object:
        """Outputs that are the same for all replicas get the axis too."""
        nodes = self.node.args[0]

        def spread(node: object, value: object) -> object:
            if isinstance(node, tuple | list):
                return type(node)(spread(n, v) for n, v in zip(node, value, strict=True))
            if isinstance(node, dict):
                return {k: spread(node[k], value[k]) for k in node}
            if not isinstance(node, fx.Node) or node in self.replicated:
                return value
            return value.unsqueeze(-1).expand(*node.meta["val"].shape, self.n_replicas)

        return super().output(target, (spread(nodes, args[0]),), kwargs)


class _Call:
    """One operation: its arguments for one replica (`nodes`, with the shapes they had) and for all (`args`)."""

    def __init__(self, graph: ReplicaLast, target: torch._ops.OpOverload, args: tuple, kwargs: dict) -> None:
        self.graph, self.target, self.args, self.kwargs = graph, target, args, kwargs
        self.nodes = graph.node.args
        self.n = graph.n_replicas

    def mapped(self) -> object:
        name = self.target.overloadpacket.__name__
        rule = RULES.get(name)
        if rule is None:
            on_elements = torch.Tag.pointwise in self.target.tags or name in _ON_ELEMENTS
            rule = _on_elements if on_elements else _by_vmap
        return rule(self)

    def emit(self, *args: object, target: Callable | None = None) -> fx.Proxy:
        """The operation, or another one, on other arguments."""
        return self.graph.tracer.create_proxy("call_function", target or self.target, args, self.kwargs)

    def ndim(self, i: int = 0) -> int:
        """Axes of an argument without that of the replicas."""
        return self.nodes[i].meta["val"].ndim

    def shape(self, i: int = 0) -> Sequence[int]:
        return self.nodes[i].meta["val"].shape

    def axis(self, dim: int, ndim: int | None = None) -> int:
        """An axis counted from the front."""
        ndim = self.ndim() if ndim is None else ndim
        return dim % ndim if ndim else 0

    def is_replicated(self, i: int) -> bool:
        return self.nodes[i] in self.graph.replicated

    def aligned(self, i: int) -> object:
        """An argument that broadcasts with replicated ones; numbers as they are."""
        if isinstance(self.nodes[i], fx.Node) and not self.is_replicated(i):
            return self.args[i].unsqueeze(-1)
        return self.args[i]

    def full(self, i: int) -> object:
        """An argument with the replica axis at its full length."""
        if self.is_replicated(i):
            return self.args[i]
        return self.args[i].unsqueeze(-1).expand(*self.shape(i), self.n)


def rule(*names: str) -> Callable[[Rule], Rule]:
    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


def _on_elements(call: _Call) -> object:
    return call.emit(*(call.aligned(i) for i in range(len(call.args))))


@rule("view", "reshape", "_unsafe_view")
def _shaped(call: _Call) -> object:
    return call.args[0].reshape([*call.args[1], call.n])


@rule("expand")
def _expand(call: _Call) -> object:
    return call.emit(call.args[0], [*call.args[1], call.n])


@rule("permute")
def _permute(call: _Call) -> object:
    k = call.ndim()
    return call.emit(call.args[0], [*(call.axis(d) for d in call.args[1]), k])


@rule("transpose")
def _transpose(call: _Call) -> object:
    return call.emit(call.args[0], *(call.axis(d) for d in call.args[1:3]))


@rule("t")
def _t(call: _Call) -> object:
    return call.args[0].transpose(0, 1) if call.ndim() == 2 else call.args[0]


@rule("unsqueeze")
def _unsqueeze(call: _Call) -> object:
    return call.emit(call.args[0], call.axis(call.args[1], call.ndim() + 1))


@rule("squeeze", "slice", "select", "unbind", "split", "cumsum", "flip", "_softmax", "_log_softmax")
def _along(call: _Call) -> object:
    place = 2 if call.target.overloadpacket.__name__ == "split" else 1  # which argument is the axis
    args = list(call.args)
    given = args[place] if len(args) > place else 0
    while len(args) <= place:
        args.append(0)
    args[place] = [call.axis(d) for d in given] if isinstance(given, tuple | list) else call.axis(given)
    return call.emit(*args)


@rule("gather", "scatter_add", "scatter")
def _at_index(call: _Call) -> object:
    args = [call.full(i) if isinstance(n, fx.Node) else call.args[i] for i, n in enumerate(call.nodes)]
    args[1] = call.axis(args[1])
    return call.emit(*args)


@rule("sum", "mean", "amax", "amin", "any", "all")
def _reduced(call: _Call) -> object:
    name = call.target.overloadpacket.__name__
    given = call.args[1] if len(call.args) > 1 else None
    given = range(call.ndim()) if given is None or (isinstance(given, tuple | list) and not given) else given
    axes = [given] if isinstance(given, int) else list(given)
    axes = [call.axis(d) for d in axes] if call.ndim() else []
    if not axes:
        return call.args[0]
    dimwise = {"sum": aten.sum.dim_IntList, "mean": aten.mean.dim, "any": aten.any.dims, "all": aten.all.dims}
    return call.emit(call.args[0], axes, *call.args[2:], target=dimwise.get(name, call.target))


@rule("cat")
def _cat(call: _Call) -> object:
    tensors, dim = call.nodes[0], call.args[1] if len(call.args) > 1 else 0
    full = [
        value if node in call.graph.replicated else value.unsqueeze(-1).expand(*node.meta["val"].shape, call.n)
        for node, value in zip(tensors, call.args[0], strict=True)
    ]
    return call.emit(full, call.axis(dim, tensors[0].meta["val"].ndim))


def _product(a: Tensor, b: Tensor) -> Tensor:
    """(n, k, R) times (k, m, R)."""
    return (a.unsqueeze(2) * b.unsqueeze(0)).sum(1)


@rule("mm")
def _mm(call: _Call) -> object:
    return _product(call.aligned(0), call.aligned(1))


@rule("addmm")
def _addmm(call: _Call) -> object:
    scaled = {name: call.kwargs[name] for name in ("alpha", "beta") if call.kwargs.get(name, 1) != 1}
    if scaled:
        return _by_vmap(call)
    return call.aligned(0) + _product(call.aligned(1), call.aligned(2))


@rule("bmm")
def _bmm(call: _Call) -> object:
    return (call.aligned(0).unsqueeze(3) * call.aligned(1).unsqueeze(1)).sum(2)


@rule("mv")
def _mv(call: _Call) -> object:
    return (call.aligned(0) * call.aligned(1).unsqueeze(0)).sum(1)


@rule("dot")
def _dot(call: _Call) -> object:
    return (call.aligned(0) * call.aligned(1)).sum(0)


def _by_vmap(call: _Call) -> object:
    """Any other operation, with the replica axis where vmap wants it."""
    flat, form = tree_flatten(call.args)
    nodes = tree_flatten(call.nodes)[0]
    tensors = [i for i, n in enumerate(nodes) if isinstance(n, fx.Node)]
    rest = {i: value for i, value in enumerate(flat) if i not in tensors}
    target, kwargs = call.target, call.kwargs

    def one(*values: Tensor) -> object:
        given = {**rest, **dict(zip(tensors, values, strict=True))}
        return target(*tree_unflatten([given[i] for i in range(len(given))], form), **kwargs)

    axes = tuple(-1 if nodes[i] in call.graph.replicated else None for i in tensors)
    mapped = vmap(one, in_dims=axes, out_dims=-1, randomness="error")
    return call.graph.tracer.create_proxy("call_function", mapped, tuple(flat[i] for i in tensors), {})
