"""A traced function with a replica axis gives each replica what the function gives alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch._decomp import core_aten_decompositions
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional as F  # noqa: N812

from armed.batching import RULES, replica_last

R = 5
X, W, V = (4, 3), (2, 3), (4,)
CODES = torch.randint(0, 3, (4, R), generator=torch.Generator().manual_seed(1))

FUNCTIONS = {
    "linear": (lambda x, w: F.linear(x, w), (X, W)),
    "linear with bias": (lambda x, w, b: F.linear(x, w, b[:2]), (X, W, V)),
    "product with a vector": (lambda x, w: x.T @ w, (X, V)),
    "dot": (lambda a, b: a @ b, (V, V)),
    "batched product": (lambda a, b: a @ b, ((2, 3, 4), (2, 4, 2))),
    "constant on the left": (lambda x: torch.arange(8.0).view(2, 4) @ x, (X,)),
    "broadcasting": (lambda x, v: x * v[:, None] + torch.tensor([1.0, 2.0, 3.0]), (X, V)),
    "scalars": (lambda x, s: (x * s + s).sum(), (X, ())),
    "reductions": (lambda x: x.sum() + x.mean(-1) + x.amax(0).prod() + x.var(), (X,)),
    "any and all": (lambda x: torch.where((x > 0).any(0), 1.0, 0.0) + (x > -9).all(), (X,)),
    "softmax": (lambda x: F.softmax(x, -1) + F.log_softmax(x, 0), (X,)),
    "concatenation": (lambda x, w: torch.cat([x, w, torch.ones(1, 3)], 0), (X, W)),
    "concatenation of last axes": (lambda x, v: torch.cat([x, v[:, None]], -1), (X, V)),
    "views": (lambda x: x.T.reshape(2, 6).unsqueeze(-1).expand(2, 6, 2).flatten(1).squeeze(), (X,)),
    "slices": (lambda x: x[1:3, ::2] + x[-1, 0] + x[:, 1][:2, None], (X,)),
    "gather": (lambda x, i: x.gather(1, i.long()[:, None]), (X, "codes")),
    "look-up": (lambda w, i: w[i.long()], ((3, 2), "codes")),
    "layer norm": (lambda x: F.layer_norm(x, (3,)), (X,)),
    "activations": (lambda x: F.gelu(x) + F.softplus(x) + F.silu(x) + F.elu(x) + F.hardtanh(x), (X,)),
    "cumulative sum": (lambda x: x.cumsum(-1) + x.flip(0), (X,)),
    "sorting": (lambda x: torch.sort(x, -1)[0], (X,)),
    "maximum with position": (lambda x: x.max(-1)[0], (X,)),
    "a constant": (lambda x: torch.ones(2), (X,)),
    "gradient": (lambda x, w: torch.func.grad(lambda v: F.linear(x, v).tanh().square().sum())(w), (X, W)),
}


def inputs(shapes: tuple) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [CODES.float() if s == "codes" else torch.randn(*s, R, generator=generator) for s in shapes]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_replica_gets_its_own(name):
    function, shapes = FUNCTIONS[name]
    given = inputs(shapes)
    traced = make_fx(function, decomposition_table=core_aten_decompositions())(*(t[..., 0].clone() for t in given))
    together = replica_last(traced, R)(*given)
    for r in range(R):
        torch.testing.assert_close(together[..., r], function(*(t[..., r] for t in given)), rtol=1e-5, atol=1e-6)


def test_a_network_and_its_gradient():
    net = nn.Sequential(nn.Linear(3, 6), nn.LayerNorm(6), nn.GELU(), nn.Linear(6, 2))
    names = [n for n, _ in net.named_parameters()]

    def gradients(x, *parameters):
        values = dict(zip(names, (p.detach().requires_grad_() for p in parameters), strict=True))
        loss = torch.func.functional_call(net, values, (x,)).square().mean()
        return torch.autograd.grad(loss, list(values.values()))

    generator = torch.Generator().manual_seed(0)
    given = [torch.randn(*s, R, generator=generator) for s in (X, *(p.shape for p in net.parameters()))]
    table = core_aten_decompositions()
    traced = make_fx(gradients, decomposition_table=table)(*(t[..., 0].clone() for t in given))
    together = replica_last(traced, R)(*given)
    for r in range(R):
        for all_of, one in zip(together, gradients(*(t[..., r] for t in given)), strict=True):
            torch.testing.assert_close(all_of[..., r], one, rtol=1e-4, atol=1e-6)


def test_operations_without_a_rule_are_mapped():
    assert "sort" not in RULES and "index" not in RULES  # what the tests above rely on
