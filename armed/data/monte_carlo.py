"""Monte Carlo splits: test and validation subjects drawn anew for each split, independently of all others.

Subjects are put in order by label, cluster (in random order) and number of samples, ties at random, and taken at even
distances from a random start. So every label x cluster stratum, and every label, gives its share to within one subject,
however small it is, and subjects of many samples are drawn as often as others. Where a cluster would be left without a
training row, one of its subjects stays in training, and one of the same label goes in its place from the cluster that has
the most training subjects, if that leaves none without. Not stated in the paper, whose sites have two subjects of each
diagnosis or more; we do so because a cluster's random effects cannot be learned without its rows.
"""

from __future__ import annotations

import numpy as np

from armed.data.subjects import Subjects, spaced
from armed.reproducibility import derive_seed


def draw(
    groups: Subjects, study: str, seed: int, fold: int, *, test_fraction: float, validation_fraction: float
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the test and the validation subjects of one split.

    Parameters
    ----------
    groups : Subjects
    study : str
    seed, fold : int
        Each (study, seed, fold) has random streams of its own, one for test and one for validation subjects.
    test_fraction : float
        Of all subjects.
    validation_fraction : float
        Of the subjects that are not tested; 0 for none.

    Returns
    -------
    test, validation : array of bool, (n_subjects,)
        The shares of all subjects, rounded. Fewer, down to none, where clusters would lose their last training row.
    """
    presence = _Presence(groups)
    nobody = np.zeros(len(groups), dtype=bool)
    rng = np.random.default_rng(derive_seed("split", study, seed, fold))
    test = _drawn(groups, nobody, test_fraction, rng)
    presence.keep(test, nobody, rng)
    if not validation_fraction:
        return test, nobody
    rng = np.random.default_rng(derive_seed("validation", study, seed, fold))
    validation = _drawn(groups, test, validation_fraction, rng)
    presence.keep(validation, test, rng)
    return test, validation


def _drawn(groups: Subjects, taken: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Draw a fraction, rounded to whole subjects, of the subjects that are not taken: mask (n_subjects,)."""
    order = groups.in_strata_order(rng)
    order = order[~taken[order]]
    chosen = np.zeros(len(groups), dtype=bool)
    # The share that makes a whole number of subjects, so that this number does not depend on the start.
    chosen[spaced(order, round(fraction * len(order)) / len(order), rng)] = True
    return chosen


class _Presence:
    """Which subjects have rows in which clusters."""

    def __init__(self, groups: Subjects) -> None:
        n = int(groups.clusters.max()) + 1
        pairs = np.unique(groups.of_row * n + groups.clusters)
        self.subject, self.cluster, self.n_clusters = pairs // n, pairs % n, n
        self.label, self.n = groups.label, len(groups)
        self.present = np.unique(self.cluster)

    def keep(self, chosen: np.ndarray, taken: np.ndarray, rng: np.random.Generator) -> None:
        """Exchange chosen subjects (a mask, changed in place) so that no cluster is left without a training row.

        Parameters
        ----------
        chosen, taken : array of bool, (n_subjects,)
            Subjects drawn now, and those that have left training before.
        rng : numpy.random.Generator
        """
        counts = self._training(chosen | taken)
        for cluster in self.present:
            if counts[cluster]:
                continue
            own = self.subject[self.cluster == cluster]
            back = rng.choice(own[chosen[own]])
            chosen[back] = False
            counts = self._training(chosen | taken)
            # Training subjects in the smallest of each subject's clusters: with one, the subject is that cluster's last.
            fewest = np.full(self.n, len(self.subject))
            np.minimum.at(fewest, self.subject, counts[self.cluster])
            free = ~chosen & ~taken & (fewest > 1) & (self.label == self.label[back])
            free[back] = False
            if free.any():
                chosen[rng.choice(np.flatnonzero(free & (fewest == fewest[free].max())))] = True
                counts = self._training(chosen | taken)

    def _training(self, out: np.ndarray) -> np.ndarray:
        """Training subjects of each cluster (n_clusters,), given those that are out of training."""
        return np.bincount(self.cluster[~out[self.subject]], minlength=self.n_clusters)
