"""Meta-learning for domain generalisation (Li et al. 2018, arXiv 1710.03463; the paper's "meta-learning" model).

Each step holds out clusters for meta-test. With F the loss on the meta-train clusters and G that on the meta-test ones,

    theta' = theta - inner_learning_rate * grad F(theta)
    theta <- Adam step on  F(theta) + meta_weight * G(theta')

True MLDG differentiates G through theta' (second order). The first-order form takes grad G at theta' for the gradient.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from armed.errors import ConfigError, Problems
from armed.losses import CLASS_WEIGHTS, Objective, check_hyper
from armed.models import MixedEffects
from armed.programs import Program
from armed.stack_method import StackMethod

ORDERS = ("second", "first")


class MetaProgram(Program):
    """One MLDG step; the columns of a batch are samples of one cluster after another, the meta-test clusters last."""

    def __init__(
        self,
        objective: Objective,
        *,
        inner_learning_rate: float,
        meta_weight: float,
        samples_per_cluster: int,
        meta_test_clusters: int,
        order: str,
        label_defect: bool,
    ) -> None:
        super().__init__(objective)
        self.inner_learning_rate = inner_learning_rate
        self.meta_weight = meta_weight
        self.samples_per_cluster = samples_per_cluster
        self.meta_test_clusters = meta_test_clusters
        self.order = order
        self.label_defect = label_defect

    def batches(self, rng, rows, codes, batch_size):
        """Per step `samples_per_cluster` samples of each cluster; as many steps as the largest cluster has such batches.

        Smaller clusters start over. `batch_size` plays no part.
        """
        present = np.unique(codes[rows])
        if len(present) <= self.meta_test_clusters:
            raise ConfigError(
                f"MLDG holds out {self.meta_test_clusters} clusters for meta-test, but a training fold has {len(present)}."
            )
        m = self.samples_per_cluster
        per_cluster = [rng.permutation(rows[codes[rows] == c]) for c in present]
        steps = -(-max(map(len, per_cluster)) // m)
        ids = np.stack([np.resize(r, (steps, m)) for r in per_cluster], 1)  # (steps, clusters, m)
        order = rng.permuted(np.tile(np.arange(len(present)), (steps, 1)), axis=1)
        # All replicas have batches of one size: meta-train clusters stand in for clusters without rows in this fold.
        absent = codes.max() + 1 - len(present)
        order = np.concatenate([np.resize(order[:, : -self.meta_test_clusters].T, (absent, steps)).T, order], 1)
        return np.take_along_axis(ids, order[:, :, None], 1).reshape(steps, -1)

    def tunable(self, module):
        own = {"inner_learning_rate": self.inner_learning_rate, "meta_weight": self.meta_weight}
        return super().tunable(module) | own

    def step(self, state, batch):
        stack, hyper = state.stack, state.hyper
        n_test = self.meta_test_clusters * self.samples_per_cluster

        def mean_losses(params, part):
            def loss(params, buffers, hyper, X, y, keep):
                out = stack.call_training(params, buffers, X[part], None, batch.noise.new_zeros(0), keep[part])
                return self.label_loss(out.mixed, y[part], hyper) + stack.penalty(params)

            return stack.vmap(loss, params, stack.buffers, hyper, batch.X, batch.y, batch.keep)

        def inner_step(parameters, gradients, rate):
            return {name: p - rate * g for (name, p), g in zip(parameters.items(), gradients, strict=True)}

        views, second = stack.main.views, self.order == "second"
        meta_train = mean_losses(views, slice(None, -n_test))
        inner = torch.autograd.grad(meta_train.sum(), list(views.values()), create_graph=second, retain_graph=True)
        if second:
            meta_test = mean_losses(
                stack.vmap(inner_step, views, inner, hyper["inner_learning_rate"]), slice(-n_test, None)
            )
            total = meta_train + hyper["meta_weight"] * meta_test
            gradient = stack.main.gradient(total.sum())
        else:
            moved = stack.vmap(inner_step, stack.main.detached(), inner, hyper["inner_learning_rate"])
            moved = {name: p.requires_grad_() for name, p in moved.items()}
            meta_test = mean_losses(moved, slice(-n_test, None))
            outer = torch.autograd.grad((hyper["meta_weight"] * meta_test).sum(), list(moved.values()))
            total = meta_train + hyper["meta_weight"] * meta_test
            gradient = stack.main.flattened(inner) + stack.main.flattened(outer)
        state.descend(state.main, gradient, batch)
        return total.detach()

    def label_loss(self, prediction: Tensor, y: Tensor, hyper: dict[str, Tensor]) -> Tensor:
        """Mean loss. With the label defect each prediction (n, 1) meets all labels (n,) of the loss, as in the authors' code.

        The mean over all pairs of a prediction and a label is the cross-entropy with the mean label for target. What is left
        of single labels comes through the meta-test samples, which are few: in their mean a label has the weight 1 / n.
        """
        if not self.label_defect:
            return self.objective.supervised(prediction, y, hyper)
        if CLASS_WEIGHTS in hyper:  # the weight goes with the label of a pair
            of_all = (self.objective.supervised(prediction, torch.full_like(y, label), hyper) for label in (0.0, 1.0))
            negative, positive = of_all
            return (1 - y.mean()) * negative + y.mean() * positive
        return self.objective.supervised(prediction, y.mean().expand(y.shape), hyper)


class MLDG(StackMethod):
    """Meta-learning over clusters.

    Parameters
    ----------
    inner_learning_rate : float
        Of the inner gradient step (authors' code: SGD, 1e-3).
    meta_weight : float
        Weight of the meta-test loss; not stated in the paper, we take 1 as Li et al. do.
    samples_per_cluster, meta_test_clusters : int
        Samples of each cluster in a step, and clusters held out in it (authors' code: 4 and 1). Every cluster has as many
        samples in an epoch as the largest, so that rows of small clusters count more often; one of fewer rows than this has
        some of them twice in a step. In folds where a cluster has no rows, another one's samples stand in for it.
    order : {"second", "first"}
        Whether to differentiate through the inner step. The authors' code is in effect first-order.
    label_defect : bool
        Broadcast labels against predictions as the authors' code does, fitting every prediction to every label.
    **common : object
        As for `armed.stack_method.StackMethod`.
    """

    def __init__(
        self,
        *,
        inner_learning_rate: float = 1e-3,
        meta_weight: float = 1.0,
        samples_per_cluster: int = 4,
        meta_test_clusters: int = 1,
        order: str = "second",
        label_defect: bool = False,
        **common: object,
    ) -> None:
        super().__init__(**common)
        self.inner_learning_rate = inner_learning_rate
        self.meta_weight = meta_weight
        self.samples_per_cluster = samples_per_cluster
        self.meta_test_clusters = meta_test_clusters
        self.order = order
        self.label_defect = label_defect
        problems = Problems(ConfigError, "the settings of MLDG")
        check_hyper({"meta_weight": meta_weight, "learning_rate": inner_learning_rate}, problems)
        if order not in ORDERS:
            problems.add(f"order is '{order}'; expected one of {', '.join(ORDERS)}")
        if label_defect and self.label != "binary":
            problems.add("label_defect is defined for binary labels only")
        problems.raise_if_any()

    def program(self):
        return MetaProgram(
            self.objective(),
            inner_learning_rate=self.inner_learning_rate,
            meta_weight=self.meta_weight,
            samples_per_cluster=self.samples_per_cluster,
            meta_test_clusters=self.meta_test_clusters,
            order=self.order,
            label_defect=self.label_defect,
        )

    def build(self, sample_shape, n_clusters, n_outputs):
        return MixedEffects(self.build_net(sample_shape, n_outputs), n_clusters, input_shape=sample_shape)
