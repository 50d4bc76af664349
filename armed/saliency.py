"""Where in an image a network looks: Grad-CAM, and how much of it falls where the truth is known to be.

Grad-CAM (Selvaraju et al., ICCV 2017; paper, dementia diagnosis). With activations A_c (h, w) of channel c of a layer and the
logit s of the class asked for,

    map = ReLU(sum over c of alpha_c A_c),    alpha_c = mean over positions of d s / d A_c.

Taken of `fixed` or of `mixed`, the same layer gives the fixed effects' map or that under a cluster's random effects; the two
differ where random slopes lie above the layer. A random intercept alone shifts the logit and leaves the map as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from armed.errors import DataError, LayerNotFoundError, Problems, did_you_mean

OUTPUTS = ("fixed", "mixed")


def grad_cam(
    module: nn.Module,
    X: Tensor | np.ndarray,
    clusters: Tensor | np.ndarray | None,
    layer: str,
    output: str = "mixed",
    *,
    target: int = 1,
    signed: bool = False,
    pooled: bool = True,
    rows_at_once: int = 64,
) -> np.ndarray:
    """Grad-CAM of each image, in evaluation mode; the module's mode, gradients and hooks are as before afterwards.

    Parameters
    ----------
    module : torch.nn.Module
        Called as ``module(X, clusters, adversary=False)``, returns a `MixedOutput`: `armed.MixedEffects` or a baseline's.
    X : array or Tensor
        (n, C, H, W) images, in the scale that the network was trained on.
    clusters : array or Tensor, optional
        Ids (n,), -1 = population, or Z (n, q); None = population for all.
    layer : str
        Name of a module of the wrapped network ``module.net`` (of `module` itself where it wraps none), as `named_modules`
        gives it, whose output is (n, c, h, w); of a block (`nn.Sequential`) its last layer is looked at. Where it is called
        several times in a pass, all calls that reach the output count.
    output : {"fixed", "mixed"}
        Whose logit.
    target : int
        Class whose logit is looked at. Of binary logits, 1 or 0: the logit or its negative.
    signed : bool
        Leave the ReLU out: positions that speak against the class are then negative.
    pooled : bool
        False: alpha_c is the gradient of each position instead of their mean (HiResCAM: Draelos & Carin, arXiv 2011.08891).
        Grad-CAM takes it that a channel means the same wherever it is; of a network whose dense layer reads the map position
        by position, as the paper's does, it tells less of places.
    rows_at_once : int
        Images in one pass; bounds memory.

    Returns
    -------
    numpy.ndarray
        (n, H, W) float32. The map is brought to the image's size bilinearly (pixels' centres, not corners, as fixed points) and
        divided by the sum of its absolute values, so that it sums to 1 where it is not `signed`. A map without any positive
        entry stays all 0, and that of a network whose output is not finite is not finite.

    Raises
    ------
    LayerNotFoundError
        There is no such layer, it is not called, or its output is not (n, c, h, w).
    DataError
        X is not (n, C, H, W) floats, or `output` or `target` is none that the module has.
    """
    X = torch.as_tensor(X)
    _check(X, output)
    device = next(module.parameters()).device
    clusters = torch.full((len(X),), -1) if clusters is None else torch.as_tensor(clusters)
    clusters = clusters.float() if clusters.is_floating_point() else clusters.long()
    maps = [torch.zeros(0, *X.shape[2:])]
    with _evaluating(module), _tapped(module, layer) as calls:
        for start in range(0, len(X), rows_at_once):
            rows = slice(start, start + rows_at_once)
            with torch.enable_grad():
                out = module(X[rows].to(device), clusters[rows].to(device), adversary=False)
                score = _score(getattr(out, output), target)
                activations = _of_calls(calls, layer)
                gradients = torch.autograd.grad(score.sum(), activations, allow_unused=True, materialize_grads=True)
            with torch.no_grad():
                pairs = zip(activations, gradients, strict=True)
                weighted = (A * (g.mean((2, 3), keepdim=True) if pooled else g) for A, g in pairs)
                small = sum(w.sum(1, keepdim=True) for w in weighted)
                maps.append(_finished(small if signed else F.relu(small), X.shape[2:]).cpu())
            calls.clear()
    return torch.cat(maps).numpy().astype(np.float32)


def localisation(maps: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Share of each map that lies inside the true region.

    Parameters
    ----------
    maps : array
        (n, H, W), not negative; of any scale.
    regions : array
        (n, H, W) booleans.

    Returns
    -------
    numpy.ndarray
        (n,) float64 between 0 and 1; NaN where a map is all zero or not finite, or a region empty. To be read beside `chance`.

    Raises
    ------
    DataError
        Of different shapes, or a map has negative entries.
    """
    maps, regions = _same_shape(maps, regions, "maps")
    if (maps < 0).any():
        raise DataError("maps have negative entries; a share needs Grad-CAM with its ReLU (signed=False).")
    total, inside = (m.sum((1, 2), dtype=np.float64) for m in (maps, np.where(regions, maps, 0.0)))
    # Not > 0 is true of NaN too.
    defined = (total > 0) & regions.any((1, 2))
    return np.where(defined, inside, np.nan) / np.where(defined, total, 1.0)


def chance(images: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Localisation of a map that is even over the brain: the region's share of the brain.

    Parameters
    ----------
    images : array
        (n, H, W); the brain is where they are not 0.
    regions : array
        (n, H, W) booleans.

    Returns
    -------
    numpy.ndarray
        (n,) float64: brain pixels of the region over brain pixels; NaN where an image is all zero.
    """
    images, regions = _same_shape(images, regions, "images")
    brain = images != 0
    size = brain.sum((1, 2)).astype(np.float64)
    return (brain & regions).sum((1, 2)) / np.where(size > 0, size, np.nan)


def _same_shape(values: np.ndarray, regions: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray]:
    values, regions = np.asarray(values), np.asarray(regions).astype(bool)
    if values.ndim != 3 or values.shape != regions.shape:
        raise DataError(
            f"{what} have the shape {values.shape} and regions {regions.shape}; both must be (samples, height, width)."
        )
    return values, regions


def _check(X: Tensor, output: str) -> None:
    problems = Problems(DataError, "what Grad-CAM was given")
    if X.ndim != 4 or not X.is_floating_point():
        problems.add(f"X is {tuple(X.shape)} {X.dtype}; expected floats (samples, channels, height, width)")
    if output not in OUTPUTS:
        problems.add(f"output is '{output}'.{did_you_mean(output, OUTPUTS)} Expected {' or '.join(OUTPUTS)}")
    problems.raise_if_any()


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """In evaluation mode; each submodule is then in the mode that it was in, frozen layers included."""
    training, each = module.training, [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        yield
    finally:
        module.train(training)
        for submodule, mode in each:
            submodule.training = mode


@contextmanager
def _tapped(module: nn.Module, layer: str) -> Iterator[list]:
    """Collect the layer's outputs of a pass, cut off from what is below: gradients of these are all that is needed."""
    net = module.net if isinstance(getattr(module, "net", None), nn.Module) else module
    layers = {name: m for name, m in net.named_modules() if name}
    if layer not in layers:
        raise LayerNotFoundError(
            f"The network has no layer '{layer}'.{did_you_mean(layer, layers)} "
            f"Layers, as named_modules gives them: {', '.join(layers)}."
        )
    calls: list = []

    def tap(of_layer: nn.Module, inputs: tuple, output: object) -> Tensor | None:
        if not isinstance(output, Tensor):
            calls.append(output)
            return None
        calls.append(output.detach().requires_grad_())
        return calls[-1].clone()  # later layers may change it in place

    tapped = layers[layer]
    while type(tapped) is nn.Sequential and len(tapped):
        tapped = tapped[
            -1
        ]  # its output is the block's, and it is called even where a network goes through blocks by layer
    # Before the wrapper's own hooks, which hand the layer's output to random slopes: these shall see the one tapped.
    handle = tapped.register_forward_hook(tap, prepend=True)
    try:
        yield calls
    finally:
        handle.remove()


def _of_calls(calls: list, layer: str) -> list[Tensor]:
    wrong = [c for c in calls if not isinstance(c, Tensor) or c.ndim != 4]
    if calls and not wrong:
        return calls
    found = "is never called"
    if wrong:
        what = f"a tensor of shape {tuple(wrong[0].shape)}" if isinstance(wrong[0], Tensor) else type(wrong[0]).__name__
        found = f"returns {what}"
    raise LayerNotFoundError(
        f"Layer '{layer}' gives no map: it {found}; expected a module whose output is (samples, channels, height, width), "
        "such as a block of convolutions."
    )


def _score(logits: Tensor, target: int) -> Tensor:
    """Logit (n,) of the class asked for."""
    n_classes = max(2, logits.shape[1])
    if target not in range(n_classes):
        raise DataError(f"target is {target}; expected a class from 0 to {n_classes - 1}.")
    if logits.shape[1] == 1:
        return logits[:, 0] if target == 1 else -logits[:, 0]
    return logits[:, target]


def _finished(small: Tensor, size: torch.Size) -> Tensor:
    """Maps (n, 1, h, w) at the image's size, each divided by the sum of its absolute values."""
    maps = F.interpolate(small.float(), size=tuple(size), mode="bilinear", align_corners=False)[:, 0]
    total = maps.abs().sum((1, 2), keepdim=True, dtype=torch.float64)
    return maps / torch.where(total > 0, total, 1.0)
