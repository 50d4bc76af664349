"""What the job of slices does with one volume, and with many at once in processes of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed, parallel_config
from threadpoolctl import threadpool_limits

from armed.data.brain_volumes import UnreadableVolumeError, check_region, check_volume, load
from armed.data.registration import register_once
from armed.data.slices import Slice, cut
from armed.errors import DataError

OK, UNREADABLE, UNREGISTERED = "ok", "unreadable", "unregistered"


class Volume(NamedTuple):
    """A volume to cut: its id, its file, and the file of its mask (empty where there is none)."""

    sample_id: str
    path: str
    region: str


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of a volume.

    Parameters
    ----------
    sample_id : str
    status : str
        `OK`, or why there is no slice: `UNREADABLE`, `UNREGISTERED`.
    reason : str
        Why, in words.
    problems : tuple of str
        Why the volume must be mended or rejected before anything is made.
    slice : Slice, optional
    similarity : float
        Of the registration; NaN without one.
    """

    sample_id: str
    status: str = OK
    reason: str = ""
    problems: tuple[str, ...] = ()
    slice: Slice | None = None
    similarity: float = np.nan


def check_and_cut(volume: Volume, size: int | None) -> Outcome:
    """Check a volume, and cut it where a size is given: then it is in MNI space."""
    try:
        image = load(volume.path)
        region = load(volume.region) if volume.region else None
        problems = check_volume(image)
        if region is not None and not problems:
            problems = check_region(region, image)
        if problems or size is None:
            return Outcome(volume.sample_id, problems=tuple(problems))
        return Outcome(volume.sample_id, slice=cut(image, to_mni=None, size=size, region=region))
    except UnreadableVolumeError as error:
        return Outcome(volume.sample_id, UNREADABLE, str(error))
    except DataError as error:
        return Outcome(volume.sample_id, problems=(str(error),))


def register_and_cut(volume: Volume, size: int, checkpoints: Path) -> Outcome:
    """Register a volume that passed its checks, and cut it; the affine is kept in `checkpoints`."""
    try:
        image = load(volume.path)
        region = load(volume.region) if volume.region else None
        found = register_once(image, Path(volume.path), checkpoints / f"{volume.sample_id}.json")
        of_volume = cut(image, to_mni=found.to_mni, size=size, region=region)
        return Outcome(volume.sample_id, slice=of_volume, similarity=found.similarity)
    except UnreadableVolumeError as error:
        return Outcome(volume.sample_id, UNREADABLE, str(error))
    except DataError as error:
        return Outcome(volume.sample_id, UNREGISTERED, str(error))


def each(work: Callable[..., Outcome], volumes: Iterable[Volume], *given: object, processes: int) -> Iterator[Outcome]:
    """Do the work for each volume, in the order of the volumes.

    A process has one thread for linear algebra, so that neither the number of processes nor the machine's cores
    change a result. Loky's processes do not run the main module again, as a script of the workflow must not be.
    """
    if processes == 1:
        with threadpool_limits(1):
            for volume in volumes:
                yield work(volume, *given)
        return
    with parallel_config(backend="loky", inner_max_num_threads=1):
        yield from Parallel(n_jobs=processes, return_as="generator")(delayed(work)(v, *given) for v in volumes)
