"""What is measured of training on images: every case is one method, size, device, engine and precision. Loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

METHODS = {
    "ad_diagnosis": (
        "conventional",
        "cluster_input",
        "cluster_input_plus",
        "mldg",
        "domain_adversarial",
        "menet",
        "lmmnn",
        "armed",
        "armed_no_adversary",
        "cluster_inference",
    ),
    "live_cell": ("conventional", "domain_adversarial", "armed", "armed_no_adversary"),
}
"""By study, networks that it trains: models of the registry, and in `ad_diagnosis` the Z-predictor."""
STUDIES = tuple(METHODS)
PROFILED = ("conventional", "armed")
"""Of which a step is profiled too: the network alone, and all of ARMED."""
ENGINES = (("plain", "float32"), ("library", "float32"), ("library", "mixed"))
"""Engine and precision; "library" is this library's own engine."""


@dataclass(frozen=True)
class ImageSize:
    """Size of a training.

    Parameters
    ----------
    pixels : int
        Height and width of an image.
    batch_size : int, optional
        None: the one in config/config.yaml.
    network : dict
        What differs from the settings in config/config.yaml.
    adversary : dict
        Likewise ``units`` and ``filters`` of an adversary, and of a recogniser.
    n_sites, n_images : int
        Clusters, and samples of the pool that batches are gathered from.
    steps, steps_on_gpu, repeats : int
        Training steps that are timed at a time, and how often.
    warm_up : int
        Steps that the library takes before. The plain loop, where one step is timed, takes one.
    profiled : bool
        Whether a further step is profiled.
    alone : bool
        Whether a case's process ends before the next begins, as memory would not hold all of a block.
    """

    pixels: int
    batch_size: int | None = None
    network: dict = field(default_factory=dict)
    adversary: dict = field(default_factory=dict)
    n_sites: int = 12
    n_images: int = 480
    steps: int = 12
    steps_on_gpu: int = 20
    repeats: int = 3
    warm_up: int = 3
    profiled: bool = True
    alone: bool = False


SIZES = {
    "ad_diagnosis": {
        "default": ImageSize(pixels=96),
        "paper": ImageSize(
            pixels=192,
            batch_size=32,
            network={"filters": [64, 128, 128, 256, 256, 512, 512], "dense": 512},
            adversary={"units": [512], "filters": [64, 64, 128, 128, 256, 256, 512]},
            steps=1,
            repeats=2,
        ),
        "tiny": ImageSize(
            pixels=16,
            batch_size=6,
            network={"filters": [2, 2, 2, 2, 2, 2, 3], "dense": 4},
            adversary={"units": [4], "filters": [2, 2, 2, 2, 2, 2, 3]},
            n_sites=3,
            n_images=36,
            steps=2,
            repeats=2,
        ),
    },
    "live_cell": {
        "default": ImageSize(pixels=64, n_sites=8),
        "paper": ImageSize(
            pixels=256,
            batch_size=16,
            network={"filters": [64, 64, 64, 128, 256, 512]},
            adversary={"units": [512], "filters": [16, 32, 32, 64, 64, 128]},
            n_sites=16,
            n_images=96,
            steps=1,
            repeats=1,
            warm_up=1,
            profiled=False,
            alone=True,
        ),
        "tiny": ImageSize(
            pixels=16,
            batch_size=6,
            network={"filters": [2, 2, 3, 3, 4, 5], "latent": 6, "classifier": 4},
            adversary={"units": [4], "filters": [2, 2, 2, 2, 2, 3]},
            n_sites=3,
            n_images=36,
            steps=2,
            repeats=2,
        ),
    },
}
"""By study: config/config.yaml's, the paper's, and one to see that it runs."""
SIZE_NAMES = ("default", "paper", "tiny")


@dataclass(frozen=True)
class ImageCase:
    """One thing to measure.

    Parameters
    ----------
    method : str
        One of the study's `METHODS`.
    size : str
        One of `SIZE_NAMES`.
    device : {"cpu", "cuda"}
    engine, precision : str
        One of `ENGINES`.
    threads : int
        Of torch, on a processor.
    study : str
        One of `STUDIES`.
    """

    method: str
    size: str = "default"
    device: str = "cpu"
    engine: str = "plain"
    precision: str = "float32"
    threads: int = 2
    study: str = "ad_diagnosis"

    @property
    def scale(self) -> ImageSize:
        return SIZES[self.study][self.size]

    @property
    def steps(self) -> int:
        return self.scale.steps if self.device == "cpu" else self.scale.steps_on_gpu

    @property
    def profiled(self) -> bool:
        return self.scale.profiled and self.method in PROFILED

    @property
    def name(self) -> str:
        return f"{self.study}: {self.method} {self.engine} {self.precision}, {self.size} size, {self.device}"


def plan(
    study: str, sizes: Sequence[str], methods: Sequence[str], devices: Sequence[str], threads: int
) -> list[list[ImageCase]]:
    """Blocks of cases; those of a block are measured in turn, so that they meet the same state of the machine."""
    return [
        [ImageCase(method, size, device, *engine, threads, study) for engine in ENGINES]
        for device in devices
        for size in sizes
        for method in methods
    ]
