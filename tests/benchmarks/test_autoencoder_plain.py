"""The plain steps of autoencoder-classifiers are those of the library: same loss, same gradients, same weights after some."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from armed import parameters
from armed.layers.random_effects import scale_and_bias
from armed.reproducibility import derive_seed
from benchmarks import autoencoder_plain, image_workload
from benchmarks.image_cases import METHODS, ImageCase

STEPS = 4
STUDY = "live_cell"
LAST = 5  # convolution of the decoder


class Library:
    """Some steps of the library's engine.

    Attributes
    ----------
    batches : list of (Tensor, Tensor, Tensor)
    noises : list of Tensor
    losses : list of float
        Of each step, with the adversary's term.
    gradients : list of dict of str to Tensor
        Of each step, of all parameters but the adversary's.
    weights : dict of str to Tensor
        After the last step.
    """

    def __init__(self, case, data, splits, monkeypatch):
        self.batches, self.noises, self.losses, self.gradients = [], [], [], []
        # Torch adds epsilon after the bias correction, Keras before; without it both are one rule.
        self.method = image_workload.method(case)
        self.method.training["epsilon"] = 1e-15
        program = self.method.program()
        whole, step, gradient = program.batches, program.step, parameters.Parameters.gradient
        program.batches = lambda *args: whole(*args)[:STEPS]

        def noted(state, batch):
            self.noises.append(batch.noise[0])
            self.batches.append((batch.X[0], batch.y[0], batch.codes[0]))

            def kept(own, loss):
                flat = gradient(own, loss)
                if own is state.stack.main:
                    parts = flat.split([s.numel() for s in own.shapes.values()])
                    named = zip(own.shapes.items(), parts, strict=True)
                    self.gradients.append({name: p.view(shape).clone() for (name, shape), p in named})
                return flat

            monkeypatch.setattr(parameters.Parameters, "gradient", kept)
            loss = step(state, batch)
            self.losses.append(float(loss[0]))
            return loss

        program.step, program.finish = noted, lambda state: None
        self.method.program = lambda: program
        self.method.fit(data, splits)
        self.weights = {name: t[0] for name, t in self.method.stack_.state().items()}


@pytest.fixture(params=METHODS[STUDY])
def both(request, monkeypatch):
    """The library's steps, and the plain loop's on the same batches and noise, from the same weights."""
    case = ImageCase(request.param, "tiny", study=STUDY)
    data, splits = image_workload.draw(case.scale)
    library = Library(case, data, splits, monkeypatch)
    given = image_workload.settings(case)
    torch.manual_seed(derive_seed("init", STUDY, 0, 0))
    model = autoencoder_plain.PlainModel(library.method.build(data.X.shape[1:], 3, 1), given["network"], given["main"])
    draws = iter(torch.cat(library.noises))
    monkeypatch.setattr(torch, "randn", lambda n, device=None: torch.stack([next(draws) for _ in range(n)]))
    step = autoencoder_plain.training_step(library.method, model)
    losses, gradients = [], []
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    assert len(library.batches) == STEPS
    for batch in library.batches:
        losses.append(float(step(*batch)))
        own = {name: p for name, p in model.named_parameters() if not name.startswith("adversary.")}
        gradients.append({name: p.grad.clone() for name, p in own.items()})
    weights = dict(model.named_parameters())
    return library, SimpleNamespace(losses=losses, gradients=gradients, weights=weights, start=start)


def is_settled(name):
    """Whether a parameter's gradient is more than rounding: that of a bias before batch normalisation is 0."""
    return not name.endswith(("conv.bias", "latent.dense.bias")) or name == f"net.decoder.{LAST}.conv.bias"


def test_same_losses_gradients_and_weights(both):
    library, plain = both
    assert plain.losses == pytest.approx(library.losses, rel=1e-5)
    for ours, theirs in zip(library.gradients, plain.gradients, strict=True):
        assert ours.keys() == theirs.keys()
        for name in filter(is_settled, ours):
            largest = float(ours[name].abs().max())
            torch.testing.assert_close(theirs[name], ours[name], atol=1e-3 * largest, rtol=0, msg=said(name))
    moved = max(float((library.weights[name] - t).abs().max()) for name, t in plain.start.items())
    assert moved > 0.5 * STEPS * 1e-3, "nothing was trained"
    for name in filter(is_settled, plain.start):
        torch.testing.assert_close(plain.weights[name], library.weights[name], atol=1e-5, rtol=0, msg=said(name))


def said(name):
    return lambda message: f"{name}: {message}"


def test_a_weight_of_the_encoder_is_the_decoders():
    model = autoencoder_plain.PlainAutoencoder(
        16, image_workload.settings(ImageCase("armed", "tiny", study=STUDY))["network"]
    )
    weights = {id(block.conv.weight) for block in model.encoder}
    assert weights == {id(block.conv.weight) for block in model.decoder} and len(weights) == 6


def test_scales_and_biases_by_the_formula_are_the_librarys():
    generator = torch.Generator().manual_seed(0)
    x, scale, bias = (torch.randn(shape, generator=generator) for shape in ((3, 5, 8, 8), (3, 5), (3, 5)))
    found = autoencoder_plain.scaled_and_biased(x, *(t[..., None, None] for t in (scale, bias)))
    torch.testing.assert_close(found, scale_and_bias(x, scale, bias, torch.ones(3)), atol=1e-5, rtol=1e-5)
