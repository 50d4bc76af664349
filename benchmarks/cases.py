"""What is measured: every case is one method, engine and size. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

METHODS = ("conventional", "armed", "mldg")
STACKS = ("eager", "compiled")
ENGINES = ("plain", "sklearn", "mlp_classifier", *STACKS)
LEVELS = {
    "replicas": (100, 300, 1000, 2000),
    "samples": (1_000, 10_000, 100_000),
    "clusters": (5, 20, 100),
    "features": (2, 10, 100),
    "units": (4, 8, 32),
}
"""Levels of each factor in the scaling curves."""


@dataclass(frozen=True)
class Size:
    """Size of a training.

    Parameters
    ----------
    replicas : int
        Models trained together.
    samples, clusters, features : int
        Of the spirals; nine tenths of the samples are trained on. Features beyond the plane's two are probes.
    units : int
        In each of the three hidden layers.
    epochs : int
        Of a whole training.
    """

    replicas: int = 256  # the workflow's stack_size
    samples: int = 10_000
    clusters: int = 10
    features: int = 2
    units: int = 4
    epochs: int = 10


@dataclass(frozen=True)
class Case:
    """One thing to measure: a method trained by an engine, one factor at a level and all else as in `base`.

    Parameters
    ----------
    method : str
        Id in the registry.
    engine : str
        One of `ENGINES`: ``plain`` a loop in plain PyTorch, ``sklearn`` one `ArmedClassifier` at a time, ``mlp_classifier``
        scikit-learn's own network, ``eager`` and ``compiled`` replica stacks.
    factor : str
        Field of `Size` that has the level `level`.
    level : int
    base : Size
    """

    method: str
    engine: str
    factor: str = "replicas"
    level: int = 1
    base: Size = field(default_factory=Size)

    @property
    def size(self) -> Size:
        size = replace(self.base, **{self.factor: self.level})
        return size if self.engine in STACKS else replace(size, replicas=1)

    @property
    def timed_epochs(self) -> int:
        """Epochs that are timed; the rest of the training is taken to cost as much per epoch."""
        if self.engine in ("sklearn", "mlp_classifier"):
            return self.size.epochs
        if self.engine == "plain":
            return self.size.epochs if self.factor == "replicas" else 1
        return min(self.size.epochs, 3 if self.size.replicas < 100 else 1)

    @property
    def name(self) -> str:
        return f"{self.method} {self.engine}, {self.level} {self.factor}"


def plan(methods: tuple[str, ...] = METHODS) -> list[list[Case]]:
    """Blocks of cases; those of a block are measured in turn, so that they meet the same state of the machine."""
    blocks = [comparison(m, (1, 10, 100, 1000), STACKS) for m in methods]
    if "armed" in methods:
        blocks[methods.index("armed")] += [Case("armed", "compiled", "replicas", r) for r in (300, 2000)]
        for factor in ("samples", "clusters", "features", "units"):
            blocks.append([Case("armed", e, factor, v) for v in LEVELS[factor] for e in ("plain", "compiled")])
    return blocks


def quick_plan() -> list[list[Case]]:
    """A small part of everything, in a minute: to see that it runs, not to read numbers from."""
    base = Size(replicas=4, samples=400, epochs=2)
    cases = comparison("conventional", (4,), STACKS, base)
    cases += [Case("armed", "plain", base=base), Case("armed", "eager", level=4, base=base)]
    return [cases + [Case("armed", "eager", "samples", n, base) for n in (200, 400)]]


def comparison(method: str, sizes: tuple[int, ...], engines: tuple[str, ...], base: Size | None = None) -> list[Case]:
    """One model at a time in every way that the method can be trained, and stacks of several sizes."""
    base = base or Size()
    singles = {"conventional": ("plain", "sklearn", "mlp_classifier"), "armed": ("plain", "sklearn")}
    cases = [Case(method, engine, base=base) for engine in singles.get(method, ("plain",))]
    return cases + [Case(method, engine, level=size, base=base) for engine in engines for size in sizes]
