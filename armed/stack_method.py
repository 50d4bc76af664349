"""Methods trained in replica stacks: everything but the network and its loss."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn

from armed import torch_files
from armed.convolutional import as_pool
from armed.data.clustered import ClusteredData
from armed.data.splits import Splits
from armed.errors import ConfigError, DataError
from armed.layers.random_effects import RandomEffect, RandomIntercept, RandomScaleBias
from armed.losses import Objective
from armed.method import Method, Rows
from armed.models import CNN, MLP, AutoencoderClassifier
from armed.programs import Program, ReconstructionProgram
from armed.stack import Stack, cluster_logits, codes, predictions, reconstructions
from armed.training import StackFit, Training, fit_stack


class Reconstructed(NamedTuple):
    """What one autoencoder makes of n images.

    Attributes
    ----------
    latent : array of float32, (n, L)
    fixed, mixed : array of float32, (n, channels, height, width)
        From 0 to 1; the same without random effects in the decoder.
    """

    latent: np.ndarray
    fixed: np.ndarray
    mixed: np.ndarray


class StackMethod(Method):
    """A method trained in replica stacks.

    Parameters
    ----------
    network : dict
        Arguments of the study's network: of `armed.models.MLP` for tables (``hidden``: ReLU units of each hidden layer), of
        `armed.models.CNN` for images (``filters`` of each convolution, and more), or, with ``latent`` among them, of
        `armed.models.AutoencoderClassifier`.
    training : dict
        Arguments of `armed.Training`.
    shared_init : bool
        All folds of a seed start from the same weights, as in the authors' code.
    stack_size : int
        Replicas trained together, at most.
    engine : {"auto", "eager", "compiled"}
        See `armed.fit_stack`.
    device : {"cpu", "cuda"}
    label_weight : float
        Of an autoencoder: weight of the label losses beside that of the images.
    **common : object
        As for `armed.method.Method`.
    """

    def __init__(
        self,
        *,
        network: Mapping | None = None,
        training: Mapping | None = None,
        shared_init: bool = False,
        stack_size: int = 256,
        engine: str = "auto",
        device: str = "cpu",
        label_weight: float = 0.1,
        **common: object,
    ) -> None:
        super().__init__(**common)
        self.label_weight = label_weight
        self.network = dict(network or {})
        self.training = dict(training or {})
        self.shared_init = shared_init
        self.stack_size = stack_size
        self.engine = engine
        self.device = device

    @abstractmethod
    def build(self, sample_shape: tuple[int, ...], n_clusters: int, n_outputs: int) -> nn.Module:
        """One untrained model, called as ``module(X, clusters, noise=..., adversary=...)`` and returning a `MixedOutput`.

        Parameters
        ----------
        sample_shape : tuple of int
            (features,) of a table, (channels, height, width) of images.
        n_clusters, n_outputs : int

        Returns
        -------
        torch.nn.Module
        """

    def objective(self) -> Objective:
        """Loss weights; here the label loss alone.

        Returns
        -------
        Objective
        """
        return Objective(label=self.label, lambda_F=0.0, lambda_K=0.0)

    def program(self) -> Program:
        """What one training step does.

        Returns
        -------
        Program
        """
        if "latent" in self.network:
            return ReconstructionProgram(self.objective(), **self.weights_of_losses())
        return Program(self.objective())

    def weights_of_losses(self) -> dict[str, float]:
        """Of an autoencoder: weights of the losses that only it has.

        Returns
        -------
        dict of str to float
        """
        return {"label_weight": self.label_weight}

    def build_net(self, sample_shape: tuple[int, ...], n_outputs: int) -> AutoencoderClassifier | CNN | MLP:
        """The study's network: an MLP for tables, a CNN or an autoencoder for images.

        Parameters
        ----------
        sample_shape : tuple of int
        n_outputs : int

        Returns
        -------
        torch.nn.Module

        Raises
        ------
        ConfigError
            If the network's settings are for the other kind of data.
        """
        images = len(sample_shape) == 3
        wrong = "hidden" if images else "filters"
        if wrong in self.network or len(sample_shape) not in (1, 3):
            kind = "a table" if len(sample_shape) == 1 else "images"
            raise ConfigError(
                f"The network has the settings {', '.join(self.network) or 'of its defaults'}, and a sample of the data is "
                f"{kind} of shape {tuple(sample_shape)}. Expected 'hidden' (dense layers) for tables (features,), or "
                "'filters' (convolutions) for images (channels, height, width)."
            )
        if "latent" in self.network:
            return AutoencoderClassifier(sample_shape, n_outputs=n_outputs, **self.network)
        if images:
            return CNN(sample_shape, n_outputs=n_outputs, **self.network)
        return MLP(sample_shape[0], n_outputs=n_outputs, **self.network)

    def fit(self, data, splits, seeds=None, *, checkpoint=None, assign=None, steps_elsewhere=0):
        """As for `armed.method.Method.fit`; `assign` and `steps_elsewhere` as for `armed.fit_stack`."""
        self._begin(data, splits, seeds)
        fit = self._fit_stack(data, splits, seeds, checkpoint, assign=assign, steps_elsewhere=steps_elsewhere)
        self.stack_ = fit.stack
        self.history_ = fit.history.drop(columns="setting")
        self.notes_ = {(seed, fold): note for (seed, fold, _), note in fit.notes.items()}
        return self

    def fit_settings(
        self,
        data: ClusteredData,
        splits: Splits,
        hyper: Sequence[Mapping[str, float]] | None = None,
        *,
        assign: Sequence[Mapping[str, float]] | None = None,
        checkpoint: Path | None = None,
        steps_elsewhere: int = 0,
    ) -> StackFit:
        """Train every setting of `hyper` on every fold, or on each fold that of `assign`; the method is not fitted by this.

        Parameters
        ----------
        data : ClusteredData
        splits : Splits
        hyper : sequence of mappings, optional
            Settings, by their names in `armed.fit_stack`.
        assign : sequence of mappings, optional
            See `armed.fit_stack`.
        checkpoint : path, optional
            File from which an interrupted call goes on.
        steps_elsewhere : int
            See `armed.fit_stack`.

        Returns
        -------
        StackFit
        """
        scratch = copy.copy(self)
        scratch._begin(data, splits, None)
        varied = {"hyper": hyper, "assign": assign}
        return scratch._fit_stack(data, splits, None, checkpoint, **varied, steps_elsewhere=steps_elsewhere)

    def _check_settings(self) -> None:
        """Raise `ConfigError` with all settings that cannot be; called before any training."""

    def _fit_stack(self, data: ClusteredData, splits: Splits, seeds, checkpoint: Path | None, **varied) -> StackFit:
        self._check_settings()
        return fit_stack(
            self._factory(),
            data,
            splits,
            seeds,
            training=Training(**self.training),
            program=self.program(),
            levels=self.levels_,
            study=self.study,
            shared_init=self.shared_init,
            stack_size=self.stack_size,
            engine=self.engine,
            device=self.device,
            checkpoint=checkpoint,
            **varied,
        )

    @property
    def random_effects_(self):
        self._check_fitted()
        effects = getattr(self.stack_.module, "random_effects", ())
        if not effects:
            return None
        state = self.stack_.state_views()
        scale = torch.nn.functional.softplus
        frames = []
        for i, spec in enumerate(effects):
            mean = state[f"effects.{i}.loc"].cpu().numpy()
            sd = scale(state[f"effects.{i}.raw_scale"]).cpu().numpy()
            features = self._effect_features(spec, mean.shape[2])
            if isinstance(spec, RandomScaleBias):
                for k, name in enumerate(("scale", "bias")):
                    frames.append(self._effect_table(name, features, mean[..., [k]], sd[..., [k]]))
                continue
            name = "intercept" if isinstance(spec, RandomIntercept) else "slope"
            frames.append(self._effect_table(name, features, mean, sd))
        return pd.concat(frames, ignore_index=True)

    def reconstruct(
        self,
        data: ClusteredData,
        rows: Rows,
        *,
        new_clusters: str = "error",
        cluster_inference: object | None = None,
    ) -> dict[tuple[int, int], Reconstructed]:
        """Codes and images that an autoencoder makes; arguments as for `armed.method.Method.predict`.

        Images are large: give some hundred rows at a time.

        Returns
        -------
        dict
            (seed, fold) to `Reconstructed`.
        """
        self._check_fitted()
        self._check_features(data)
        clusters = self._membership(data, rows, new_clusters, cluster_inference)
        return {key: self.reconstruct_as(data, key, rows[key], clusters[key]) for key in rows}

    def latents(self, data: ClusteredData, rows: Rows) -> dict[tuple[int, int], np.ndarray]:
        """Codes (n, L) of the rows of each (seed, fold); arguments as for `armed.method.Method.importance`.

        They take less time than `reconstruct`; clusters play no part in them.
        """
        self._check_fitted()
        self._check_features(data)
        return {key: self._made(codes, data, key, own, np.full(len(own), -1))["latent"] for key, own in rows.items()}

    def reconstruct_as(
        self, data: ClusteredData, key: tuple[int, int], rows: np.ndarray, clusters: np.ndarray
    ) -> Reconstructed:
        """Codes and images that the autoencoder of one (seed, fold) makes of some rows, under effects that are given.

        Parameters
        ----------
        data : ClusteredData
        key : (int, int)
        rows : array of int, (n,)
        clusters : array, (n,) or (n, q)
            Codes, positions in `levels_`, -1 = population; or Z.

        Returns
        -------
        Reconstructed
        """
        return Reconstructed(**self._made(reconstructions, data, key, rows, clusters))

    def _made(
        self, function: Callable, data: ClusteredData, key: tuple[int, int], rows: np.ndarray, clusters: np.ndarray
    ) -> dict[str, np.ndarray]:
        """What a function of `armed.stack` gives for one autoencoder."""
        if "latent" not in self.network:
            raise ConfigError(
                f"{type(self).__name__} was fitted with a network that makes no images; expected one of an autoencoder."
            )
        _, index = self._select({key: rows})
        X = as_pool(data.X, self.stack_.device)
        (made,) = self.stack_.evaluate(function, X, [np.asarray(rows)], [np.asarray(clusters)], index)
        return made

    def importance(self, data, rows):
        self._check_fitted()
        if len(self.sample_shape_) > 1:
            return None  # of single pixels it would say nothing: images have saliency maps
        keys, index = self._select(rows)
        X = as_pool(data.X, self.stack_.device)
        ids = [np.asarray(rows[k]) for k in keys]
        population = [np.full(len(r), -1) for r in ids]
        gradients = self.stack_.input_gradients(X, ids, population, index)
        frames = [
            pd.DataFrame(
                {
                    "seed": seed,
                    "fold": fold,
                    "feature": self.feature_names_,
                    "importance": gradient.mean(0) * data.X[r].std(0),
                }
            )
            for (seed, fold), r, gradient in zip(keys, ids, gradients, strict=True)
        ]
        return pd.concat(frames, ignore_index=True)

    def adversary_predictions(self, data: ClusteredData, rows: Rows) -> dict[tuple[int, int], np.ndarray] | None:
        """The adversary's cluster codes (n,) of the rows of each (seed, fold); None without an adversary.

        Arguments as for `armed.method.Method.importance`.
        """
        self._check_fitted()
        if self.stack_.adversary is None:
            return None
        keys, index = self._select(rows)
        X = as_pool(data.X, self.stack_.device)
        ids = [np.asarray(rows[k]) for k in keys]
        population = [np.full(len(r), -1) for r in ids]
        outputs = self.stack_.evaluate(cluster_logits, X, ids, population, index)
        return {k: out["cluster_logits"].argmax(1) for k, out in zip(keys, outputs, strict=True)}

    def _outputs(self, data, keys, rows, clusters):
        X = as_pool(data.X, self.stack_.device)
        _, index = self._select(dict.fromkeys(keys))
        outputs = self.stack_.evaluate(predictions, X, rows, clusters, index)
        return [(out["fixed"], out["mixed"]) for out in outputs]

    def _select(self, rows: Mapping) -> tuple[list[tuple[int, int]], list[int]]:
        position = {key: i for i, key in enumerate(self.replicas_)}
        missing = [key for key in rows if key not in position]
        if missing:
            raise DataError(f"No model was fitted for seed {missing[0][0]}, fold {missing[0][1]}.")
        return list(rows), [position[key] for key in rows]

    def _factory(self) -> Callable[[], nn.Module]:
        return lambda: self.build(self.sample_shape_, len(self.levels_), self.n_outputs_)

    def _effect_features(self, spec: RandomEffect, n_features: int) -> list[str]:
        if spec.on is None:
            return [""]
        named = spec.on == "input" and self.feature_names_
        return list(self.feature_names_) if named else [f"{spec.on}[{j}]" for j in range(n_features)]

    def _effect_table(self, effect: str, features: list[str], mean: np.ndarray, sd: np.ndarray) -> pd.DataFrame:
        """Long table of posteriors (R, q, F, K); with K > 1 outputs the feature names the output too."""
        n_outputs = mean.shape[3]
        names = [f"{f}->{k}" if n_outputs > 1 else f for f in features for k in range(n_outputs)]
        index = pd.MultiIndex.from_product([range(len(self.replicas_)), self.levels_, names])
        table = pd.DataFrame({"mean": mean.ravel(), "sd": sd.ravel()}, index=index).reset_index()
        table.columns = ["replica", "cluster", "feature", "mean", "sd"]
        table.insert(0, "seed", np.array(self.replicas_)[:, 0][table["replica"]])
        table.insert(1, "fold", np.array(self.replicas_)[:, 1][table["replica"]])
        table.insert(3, "effect", effect)
        return table[["seed", "fold", "cluster", "effect", "feature", "mean", "sd"]]

    def _save(self, folder):
        torch_files.write(self.stack_.state(), folder / "weights.pt")
        self.history_.to_csv(folder / "history.tsv", sep="\t", index=False)

    def _load(self, folder):
        state = torch_files.read(folder / "weights.pt", self.device)
        self.stack_ = Stack(self._factory()().to(self.device), state)
        self.history_ = pd.read_csv(folder / "history.tsv", sep="\t")
