"""Measuring one image case in the process that runs it: seconds of training steps, of gathering batches, and memory."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from armed.convolutional import as_inputs
from armed.engines import epoch_runner
from armed.epochs import Draws, draw_epoch
from armed.losses import class_weights
from armed.programs import State
from armed.reproducibility import derive_seed
from armed.stack_method import StackMethod
from benchmarks import autoencoder_plain, image_plain, image_profile, image_workload
from benchmarks.image_cases import ImageCase
from benchmarks.measure import peak_mb


class Repeat(NamedTuple):
    """Wall seconds for an image, of whole steps and of gathering and converting its batch alone; memory so far in MB."""

    step: float
    loading: float
    peak_mb: float


class Session(ABC):
    """One model in training.

    Parameters
    ----------
    case : ImageCase
    """

    def __init__(self, case: ImageCase) -> None:
        self.case = case
        self.device = torch.device(case.device)
        self.data, self.splits = image_workload.draw(case.scale)
        self.method = image_workload.method(case)
        self.sites = self.data.codes(self.data.levels)

    @abstractmethod
    def draw(self, steps: int) -> object:
        """Draw the batches of some steps."""

    @abstractmethod
    def n_images(self, batches: object) -> int:
        """Images in the batches."""

    @abstractmethod
    def train(self, batches: object) -> None:
        """Take the steps, from gathering the batches on."""

    @abstractmethod
    def load(self, batches: object) -> None:
        """Gather and convert the batches, and do no more."""

    def measure(self) -> Repeat:
        """Time some steps, and the same batches' gathering apart: within a step it could not be told on a GPU."""
        batches = self.draw(self.case.steps)
        n = self.n_images(batches)
        return Repeat(self._seconds(self.train, batches) / n, self._seconds(self.load, batches) / n, self._peak_mb())

    def profile(self) -> dict[str, float]:
        """Seconds for an image of each of `image_profile.PARTS`, from one step."""
        batches = self.draw(1)
        with image_profile.named_parts():
            parts = image_profile.seconds_of_parts(lambda: self.train(batches), self.device)
        return {name: s / self.n_images(batches) for name, s in parts.items()}

    def _seconds(self, function, batches: object) -> float:
        self._wait()
        begin = time.perf_counter()
        function(batches)
        self._wait()
        return time.perf_counter() - begin

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _peak_mb(self) -> float:
        return torch.cuda.max_memory_allocated(self.device) / 1e6 if self.device.type == "cuda" else peak_mb()


def prepare(case: ImageCase) -> Session:
    """Start a training and take its first steps, so that what is measured afterwards is steady."""
    torch.set_num_threads(case.threads)
    return Plain(case) if case.engine == "plain" else Engine(case)


class Engine(Session):
    """The library's own engine: the state of a fit after a few steps, whose epochs are run further one by one."""

    def __init__(self, case: ImageCase) -> None:
        super().__init__(case)
        self.program = self.method.program()
        whole, start = self.program.batches, self.program.start
        self.steps = case.scale.warm_up

        def started(state: State) -> None:
            self.state = state
            start(state)

        self.program.start = started
        self.program.batches = lambda *args: whole(*args)[: self.steps]
        self.program.finish = lambda state: None  # what comes after the last step is not measured
        self.method.program = lambda: self.program
        self.method.fit(self.data, self.splits)
        module = self.state.stack.module.train()
        self.run_epoch = epoch_runner(False, self.method.engine, module)
        self.epoch = 0

    def draw(self, steps: int) -> Draws:
        self.steps, self.epoch = steps, self.epoch + 1
        batch_size = self.method.training["batch_size"]
        return draw_epoch(self.state, self.program, batch_size, self.state.pool.codes.cpu().numpy(), self.epoch)

    def n_images(self, batches: Draws) -> int:
        return batches.ids[0].size

    def train(self, batches: Draws) -> None:
        self.run_epoch(self.state, self.program, batches)

    def load(self, batches: Draws) -> None:
        pool = self.state.pool
        for rows in batches.table("ids").to(self.device):
            as_inputs(pool.X[rows]), pool.y[rows], pool.codes[rows]


def plain_step(case: ImageCase, method: StackMethod, model: nn.Module, y: np.ndarray) -> image_plain.Step:
    """The step of the plain loop, from the weights of a model that the method has built.

    Parameters
    ----------
    case : ImageCase
    method : StackMethod
    model : torch.nn.Module
    y : array of int, (n,)
        Labels, which class weights are of.
    """
    given = image_workload.settings(case)
    device = next(model.parameters()).device
    if case.study == "live_cell":
        plain = autoencoder_plain.PlainModel(model, given["network"], given["main"]).to(device)
        return autoencoder_plain.training_step(method, plain)
    weights = None
    if case.method != "cluster_inference":
        weights = torch.tensor(class_weights("balanced", y, 2), dtype=torch.float32, device=device)
    return image_plain.training_step(case.method, method, model, given["main"], weights)


class Plain(Session):
    """A loop in plain PyTorch over images that lie on the device as float32."""

    def __init__(self, case: ImageCase) -> None:
        super().__init__(case)
        self.X = (torch.from_numpy(self.data.X).float() / 255).to(self.device)
        self.y = torch.tensor(self.data.y, dtype=torch.float32, device=self.device)
        self.codes = torch.tensor(self.sites, device=self.device)
        torch.manual_seed(derive_seed("init", case.study, 0, 0))
        n_sites = len(self.data.levels)
        n_outputs = n_sites if case.method == "cluster_inference" else 1
        model = self.method.build(self.data.X.shape[1:], n_sites, n_outputs).to(self.device)
        self.step = plain_step(case, self.method, model, self.data.y)
        self.drawn = 0
        # Where a step takes seconds one is enough: memory is handed out anew in each.
        self.train(self.draw(1 if case.steps == 1 else case.scale.warm_up))

    def draw(self, steps: int) -> Tensor:
        self.drawn += 1
        rows = next(iter(self.splits)).train
        rng = np.random.default_rng(self.drawn)
        ids = self.method.program().batches(rng, rows, self.sites, self.method.training["batch_size"])
        return torch.from_numpy(ids[:steps]).to(self.device)

    def n_images(self, batches: Tensor) -> int:
        return batches.numel()

    def train(self, batches: Tensor) -> None:
        for ids in batches:
            self.step(self.X[ids], self.y[ids], self.codes[ids])

    def load(self, batches: Tensor) -> None:
        for ids in batches:
            self.X[ids], self.y[ids], self.codes[ids]
