"""Methods with their settings trained one after another: what the engine does in one stack."""

from __future__ import annotations

import pandas as pd
import torch

from armed.data.splits import Splits
from armed.methods import ARMED
from armed.stack import Stack
from armed.training import Replica, StackFit, Training, fit_stack
from baselines import conventional


class OneByOne:
    """`fit_settings` and ``fit(assign=...)`` without an engine that knows them."""

    def fit_settings(self, data, splits, hyper, *, checkpoint=None):
        self._begin(data, splits, None)
        fits = [self._fit(data, splits, setting) for setting in hyper]
        replicas = [Replica(r.seed, r.fold, i) for i, f in enumerate(fits) for r in f.replicas]
        return StackFit(merged(fits), replicas, fits[0].levels, pd.DataFrame(), {}, hyper)

    def fit(self, data, splits, seeds=None, *, checkpoint=None, assign=None):
        if assign is None:
            return super().fit(data, splits, seeds, checkpoint=checkpoint)
        folds = self._begin(data, splits, seeds)
        fits = [self._fit(data, Splits((fold,)), assign[fold.seed, fold.fold]) for fold in folds]
        self.stack_ = merged(fits)
        self.history_ = pd.concat([f.history for f in fits]).drop(columns="setting")
        return self

    def _fit(self, data, splits, setting):
        hyper = {name: [value] for name, value in setting.items()}
        common = {"training": Training(**self.training), "program": self.program(), "study": self.study}
        return fit_stack(self._factory(), data, splits, hyper=hyper, levels=self.levels_, **common)


class Armed(OneByOne, ARMED):
    pass


class Conventional(OneByOne, conventional.Conventional):
    pass


def merged(fits) -> Stack:
    states = [f.stack.state() for f in fits]
    return Stack(fits[0].stack.module, {name: torch.cat([s[name] for s in states]) for name in states[0]})
