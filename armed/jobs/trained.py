"""The trained models of one variant, with their data and folds: what they predict, each fold with features of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from armed import registry
from armed.data.clustered import ClusteredData
from armed.data.preparation import FittedPreparation, Prepared
from armed.data.splits import Splits
from armed.data.study import StudyData
from armed.jobs.fit import variants
from armed.method import Method, Predictions, Rows
from armed.metrics import youden_threshold
from armed.recovery import truth_metrics
from armed.scoring import FIXED_OF
from armed.univariate import feature_kinds


@dataclass(frozen=True)
class Names:
    """Names that a predictions table may hold, so that these columns are categories, the same in all frames of a job."""

    types: Mapping[str, pd.CategoricalDtype]

    @classmethod
    def of(cls, study: registry.Study, settings: Mapping, data: StudyData) -> Names:
        """All names of a study's data and a model's variants."""
        parts = [part for of_variant in data.parts.values() for part in of_variant.values()]
        found = {
            "cluster": np.unique(np.concatenate([part.levels for part in parts])),
            "partition": study.partitions,
            "variant": list(dict.fromkeys(variant.name for variant in variants(settings, data))),
        }
        return cls({name: pd.CategoricalDtype(values) for name, values in found.items()})

    def columns(self, part: ClusteredData, rows: np.ndarray, partition: str, variant: str) -> dict[str, pd.Categorical]:
        """These columns for some rows of a part of the data."""
        codes = {
            "cluster": part.codes(self.types["cluster"].categories)[rows],
            "partition": np.full(len(rows), self.types["partition"].categories.get_loc(partition)),
            "variant": np.full(len(rows), self.types["variant"].categories.get_loc(variant)),
        }
        return {name: pd.Categorical.from_codes(values, dtype=self.types[name]) for name, values in codes.items()}


@dataclass(frozen=True)
class Trained:
    """One training of a model, on all folds of its seeds.

    Parameters
    ----------
    method : Method
    parts : mapping of str to ClusteredData
        As they are before anything is done to features.
    folds : Splits
        Training, validation and test rows as reported, whatever stopped training early.
    preparation : FittedPreparation
        Of each fold.
    clusters : DataFrame
        What is known of the seen clusters (`StudyData.truth`).
    predictor : ClusterInference or None
        The study's Z-predictor, for methods that infer clusters.
    first_fold : int
        Added to fold numbers in the results.
    """

    method: Method
    parts: Mapping[str, ClusteredData]
    folds: Splits
    preparation: FittedPreparation
    clusters: pd.DataFrame
    predictor: object | None
    first_fold: int = 0

    def of_seeds(self, seeds: Sequence[int]) -> Trained:
        """The same for some seeds."""
        return replace(self, folds=self.folds.select([s for s in self.folds.seeds if s in set(seeds)]))

    @property
    def test(self) -> Rows:
        """(seed, fold) to test rows of the seen part."""
        return {(f.seed, f.fold): f.test for f in self.folds}

    def numbered(self, frame: pd.DataFrame) -> pd.DataFrame:
        """A table with a column `fold`, its numbers as in the results."""
        return frame.assign(fold=frame["fold"] + self.first_fold) if self.first_fold else frame

    def notes(self) -> dict[tuple[int, int], str]:
        """What a reader should know of some fits, by (seed, fold) of the results."""
        return {(seed, fold + self.first_fold): note for (seed, fold), note in self.method.notes_.items()}

    def has_one_dataset(self) -> bool:
        """Whether all seeds share one dataset, and so meet the same clusters."""
        return all(np.ptp(part.dataset) == 0 for part in self.parts.values())

    def predictions(self, partitions: Sequence[str], names: Names, variant: str) -> pd.DataFrame:
        """Rows of the predictions table for all partitions that apply, and the `subject` of each."""
        own = "infer" if self.predictor is not None else "population"
        frames = []
        for partition in partitions:
            if partition in FIXED_OF or (partition == "unseen_population" and self.predictor is None):
                continue  # scored from another partition's rows; the same as `unseen`
            part = self.parts["unseen" if partition == "unseen_population" else partition]
            test = self.test
            rows = test if partition == "seen" else {key: part.rows_of(key[0]) for key in test}
            new_clusters = {"unseen": own, "unseen_population": "population"}.get(partition, "error")
            predicted, source = self._predict(part, rows, new_clusters)
            frames.append(
                pd.DataFrame(
                    {
                        "sample_id": part.sample_id[source],
                        "subject": part.subject[source],
                        **names.columns(part, source, partition, variant),
                        "seed": predicted.seed,
                        "fold": predicted.fold + self.first_fold,
                        "y_true": part.y[source].astype(np.float32),
                        **_outputs(predicted),
                    }
                )
            )
        return pd.concat(frames, ignore_index=True)

    def thresholds(self, kind: str) -> pd.DataFrame:
        """Probability from which each fit calls a sample positive.

        Parameters
        ----------
        kind : {"constant", "train", "validation"}
            ``constant``: 0.5. ``train``: the Youden point of the predictions for all rows of the fold but its test rows.
            ``validation``: that of the predictions for its validation rows.

        Returns
        -------
        DataFrame
            seed, fold, threshold and chosen_on: the kind, or ``constant`` for fits without such a point, as training
            diverged or the rows (if any) hold one class.
        """
        chosen = {}
        if kind != "constant":
            seen, rows = self.parts["seen"], {}
            for f in self.folds:
                own = f.validation if kind == "validation" else np.concatenate([f.train, f.validation])
                if len(np.unique(seen.y[own])) > 1:
                    rows[f.seed, f.fold] = own
            chosen = self._youden_points(rows) if rows else {}
        told = [(chosen[key], kind) if key in chosen else (0.5, "constant") for key in self.test]
        table = pd.DataFrame(told, index=pd.MultiIndex.from_tuples(list(self.test)), columns=["threshold", "chosen_on"])
        return self.numbered(table.rename_axis(["seed", "fold"]).reset_index())

    def _youden_points(self, rows: Rows) -> dict[tuple[int, int], float]:
        """Youden point of the predictions for some rows of the seen part, by (seed, fold), where training did not diverge."""
        predicted, source = self._predict(self.parts["seen"], rows, "error")
        ends, chosen = np.cumsum([len(r) for r in rows.values()]), {}
        for key, stop, size in zip(rows, ends, map(len, rows.values()), strict=True):
            output, y = predicted.mixed[stop - size : stop], self.parts["seen"].y[source[stop - size : stop]]
            if np.isfinite(output).all():
                chosen[key] = youden_threshold(y, output)
        return chosen

    def random_effects(self) -> pd.DataFrame | None:
        """Random effects of each fit; None where the method has none."""
        found = self.method.random_effects_
        return None if found is None else self.numbered(found)

    def truth_metrics(self, importance: pd.DataFrame | None, feature_truth: pd.DataFrame) -> pd.DataFrame:
        """How well the effects that are known to be true are found again (`armed.recovery`), given the fits' importance."""
        part, effects = self.parts["seen"], self.random_effects()
        if effects is not None:
            effects = effects[effects["seed"].isin(self.folds.seeds)]
        datasets = {seed: int(part.dataset[part.rows_of(seed)[0]]) for seed in self.folds.seeds}
        return truth_metrics(effects, importance, feature_truth, self.clusters, datasets, feature_kinds(part))

    def importance(self) -> pd.DataFrame | None:
        """Importance of each feature in each fit, over its test rows; None where the method has none."""
        prepared = self._prepared()
        found = self.method.importance(prepared.data, prepared.rows)
        return None if found is None else self.numbered(found)

    def adversary_and_z(self) -> pd.DataFrame:
        """Accuracy of the adversary and of the Z-predictor on the test rows of seen clusters, chance in the note."""
        prepared, guesses = self._prepared(), {}
        if hasattr(self.method, "adversary_predictions"):
            guesses["adversary_accuracy"] = self.method.adversary_predictions(prepared.data, prepared.rows)
        if self.predictor is not None:
            guesses["z_accuracy"] = self.predictor.guesses(prepared.data, prepared.rows, self.method.levels_)
        codes = prepared.data.codes(self.method.levels_)
        rows = []
        for metric, by_fit in guesses.items():
            for (seed, fold), guess in (by_fit or {}).items():
                truth = codes[prepared.rows[seed, fold]]
                chance = np.bincount(truth[truth >= 0]).max() / len(truth)
                value, note = float((guess == truth).mean()), f"chance {chance:.3g}"
                rows.append((seed, fold + self.first_fold, "seen", metric, value, len(truth), note))
        return pd.DataFrame(rows, columns=["seed", "fold", "partition", "metric", "value", "n", "note"])

    def _prepared(self) -> Prepared:
        return self.preparation.apply(self.parts["seen"], self.test)

    def _predict(self, part: ClusteredData, rows: Rows, new_clusters: str) -> tuple[Predictions, np.ndarray]:
        """Predictions in the label's own unit, and for each its row of the part."""
        prepared = self.preparation.apply(part, rows)
        predicted = self.method.predict(
            prepared.data, prepared.rows, new_clusters=new_clusters, cluster_inference=self.predictor
        )
        restored = {
            name: self.preparation.restore(getattr(predicted, name), predicted.seed, predicted.fold)
            for name in ("fixed", "mixed")
        }
        return replace(predicted, **restored), prepared.source[predicted.row]


def _outputs(predicted: Predictions) -> dict[str, np.ndarray]:
    """Columns of the predictions table: `fixed` and `mixed`, or one of each for every class."""
    if predicted.mixed.ndim == 1:
        return {"fixed": predicted.fixed, "mixed": predicted.mixed}
    found = {}
    for name in ("fixed", "mixed"):
        found |= {f"{name}_{k}": values for k, values in enumerate(getattr(predicted, name).T)}
    return found
