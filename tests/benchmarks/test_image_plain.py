"""The plain steps on images train the models that the library trains: same start, same batches, same weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from armed.losses import class_weights
from armed.reproducibility import derive_seed
from benchmarks import image_plain, image_workload
from benchmarks.image_cases import METHODS, ImageCase

STEPS = 4


def pair(name, monkeypatch):
    """The library's model after some steps, its start, and the plain model after steps on the same batches and noise."""
    case = ImageCase(name, "tiny")
    main = image_workload.settings(case)["main"]
    data, splits = image_workload.draw(case.scale)
    method = image_workload.method(case, dropout=0.0)
    program, noises, batches = method.program(), [], []
    whole, step = program.batches, program.step
    program.batches = lambda *args: whole(*args)[:STEPS]

    def noted(state, batch):
        noises.append(batch.noise[0])
        batches.append((batch.X[0], batch.y[0], batch.codes[0]))
        return step(state, batch)

    program.step, program.finish = noted, lambda state: None
    method.program = lambda: program
    method.fit(data, splits)
    torch.manual_seed(derive_seed("init", case.study, 0, 0))
    inference = name == "cluster_inference"
    model = method.build(data.X.shape[1:], 3, 3 if inference else 1)
    start = snapshot(model)
    draws = iter(torch.cat(noises))
    monkeypatch.setattr(torch, "randn", lambda n, device=None: torch.stack([next(draws) for _ in range(n)]))
    weights = None if inference else torch.tensor(class_weights("balanced", data.y, 2), dtype=torch.float32)
    train = image_plain.training_step(name, method, model, main, weights)
    assert len(batches) == STEPS
    for x, y, codes in batches:
        train(x, y, y.long() if inference else codes)  # sites are what the Z-predictor learns
    return snapshot(method.stack_.replica(0)), start, snapshot(model)


def snapshot(model):
    return {name: t.detach().clone() for name, t in model.state_dict().items() if t.is_floating_point()}


@pytest.mark.parametrize("name", METHODS["ad_diagnosis"])
def test_same_weights_and_running_statistics(name, monkeypatch):
    expected, start, found = pair(name, monkeypatch)
    moved = max(float((expected[name] - start[name]).abs().max()) for name in expected)
    assert moved > 0.5 * STEPS * 1e-3, "nothing was trained"
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        # Gradients of biases before batch normalisation are rounding alone, of which Nadam makes whole steps; the running
        # means follow them.
        if not key.endswith(("conv.bias", "running_mean")):
            torch.testing.assert_close(found[key], value, atol=1e-5, rtol=0, msg=lambda m, key=key: f"{key}: {m}")


def test_no_hook_of_the_library_is_left():
    case = ImageCase("armed", "tiny")
    model = image_workload.method(case).build((1, 16, 16), 3, 1)
    image_plain.without_hooks(model)
    dropped = [m for m in model.net.modules() if isinstance(m, torch.nn.Dropout)]
    assert len(dropped) == 3 and all(m.training for m in dropped)
    x = torch.ones(1, 2, 50, 50)
    assert np.isclose((dropped[0](x) == 0).float().mean(), 0.5, atol=0.05)
