"""What the paper claims of each study: `armed.claims` judges it.

Written down before any result of the study was looked at.
"""

from __future__ import annotations

from typing import NamedTuple


class Result(NamedTuple):
    """What one side of a claim is: a model on a partition."""

    model: str
    partition: str


class Claim(NamedTuple):
    """A claim of the paper: that one result is better than another.

    Attributes
    ----------
    id : str
        Name in `claims.tsv`.
    about : str
        What it is about, in few words.
    says : str
        The claim in words, without a full stop.
    better, worse : Result
    metric : str
    """

    id: str
    about: str
    says: str
    better: Result
    worse: Result
    metric: str = "auroc"

    @property
    def statistic(self) -> str:
        """What is estimated, as in `claims.tsv`; above 0 it is as claimed (below 0 where lower is better)."""
        return f"{self.metric}: {' '.join(self.better)} - {' '.join(self.worse)}"


def _models(id: str, about: str, says: str, better: str, worse: str, partition: str, metric: str = "auroc") -> Claim:
    return Claim(id, about, says, Result(better, partition), Result(worse, partition), metric)


_AD_DIAGNOSIS = (
    Claim(
        "confounding",
        "confounding by site",
        "The conventional network is worse on unseen than on seen sites: it has learnt their scanners",
        Result("conventional", "seen"),
        Result("conventional", "unseen"),
    ),
    _models(
        "armed_seen",
        "ARMED, seen sites",
        "ARMED is better than the conventional network on seen sites",
        "armed",
        "conventional",
        "seen",
    ),
    _models(
        "armed_unseen",
        "ARMED, unseen sites",
        "ARMED is better than the conventional network on unseen sites",
        "armed",
        "conventional",
        "unseen",
    ),
    _models(
        "domain_adversarial_unseen",
        "adversary alone, unseen sites",
        "An adversary alone makes the network better on unseen sites",
        "domain_adversarial",
        "conventional",
        "unseen",
    ),
    _models(
        "adversary_seen",
        "adversary within ARMED, seen sites",
        "ARMED needs its adversary: without it it is worse on seen sites",
        "armed",
        "armed_no_adversary",
        "seen",
    ),
    Claim(
        "inferred_z",
        "inferred Z",
        "Inferring the site of unseen images helps: better than the population's prediction (Z = 0)",
        Result("armed", "unseen"),
        Result("armed", "unseen_population"),
    ),
    _models(
        "randomised_z_seen",
        "randomised Z, seen sites",
        "ARMED uses its random effects: with a randomised Z it is worse on seen sites",
        "armed",
        "armed_randomized_z",
        "seen",
    ),
    _models(
        "randomised_z_unseen",
        "randomised Z, unseen sites",
        "With a randomised Z ARMED is worse on unseen sites than with the inferred one",
        "armed",
        "armed_randomized_z",
        "unseen",
    ),
    _models(
        "cluster_input_plus_seen",
        "cluster input+, seen sites",
        "Sites given to the network as an input (cluster input+) make it better on seen sites",
        "cluster_input_plus",
        "conventional",
        "seen",
    ),
    _models(
        "cluster_input_plus_unseen",
        "cluster input+, unseen sites",
        "What sites given as an input teach does not carry over: cluster input+ is worse than ARMED on unseen sites",
        "armed",
        "cluster_input_plus",
        "unseen",
    ),
    _models(
        "menet_unseen",
        "MeNet, unseen sites",
        "MeNet is worse than ARMED on unseen sites",
        "armed",
        "menet",
        "unseen",
    ),
    _models(
        "lmmnn_unseen",
        "LMMNN, unseen sites",
        "LMMNN is worse than ARMED on unseen sites",
        "armed",
        "lmmnn",
        "unseen",
    ),
    _models(
        "localisation_seen",
        "attention, seen sites",
        "ARMED looks more at the disease than the conventional network does, on seen sites",
        "armed",
        "conventional",
        "seen",
        "localisation",
    ),
    _models(
        "localisation_unseen",
        "attention, unseen sites",
        "ARMED looks more at the disease than the conventional network does, on unseen sites",
        "armed",
        "conventional",
        "unseen",
        "localisation",
    ),
)


def _latents(model: str, name: str) -> tuple[Claim, ...]:
    """That latents of a model carry less of the date than those of the conventional autoencoder, by three measures."""
    measures = (
        ("cluster_probe_accuracy", "probe", "linear probe", "a linear probe reads it off less often"),
        ("davies_bouldin", "davies_bouldin", "Davies-Bouldin", "dates stand less apart (higher Davies-Bouldin index)"),
        (
            "calinski_harabasz",
            "calinski_harabasz",
            "Calinski-Harabasz",
            "dates stand less apart (lower Calinski-Harabasz index)",
        ),
    )
    return tuple(
        _models(
            f"{model}_{id}",
            f"date in latents of {name}, {measure}",
            f"Latents of {name} carry less of the date than those of the conventional autoencoder: {says}",
            model,
            "conventional",
            "latents",
            metric,
        )
        for metric, id, measure, says in measures
    )


def _on_both(id: str, about: str, says: str, better: str, worse: str, metric: str = "auroc") -> tuple[Claim, ...]:
    """The same claim on seen and on unseen dates."""
    return tuple(
        _models(f"{id}_{part}", f"{about}, {part} dates", f"{says} on {part} dates", better, worse, part, metric)
        for part in ("seen", "unseen")
    )


_LIVE_CELL = (
    *_on_both(
        "armed",
        "ARMED",
        "ARMED classifies better than the conventional autoencoder",
        "armed",
        "conventional",
    ),
    *_on_both(
        "armed_mse",
        "reconstruction by ARMED",
        "ARMED reconstructs better than the conventional autoencoder",
        "armed",
        "conventional",
        "mse",
    ),
    _models(
        "domain_enhancing_seen",
        "random effects alone, seen dates",
        "Random effects without an adversary (domain enhancing) classify better than the conventional network on seen dates",
        "armed_no_adversary",
        "conventional",
        "seen",
    ),
    *_latents("domain_adversarial", "the domain adversarial autoencoder"),
    *_latents("armed", "ARMED"),
    Claim(
        "mixed_reconstruction",
        "mixed against fixed reconstruction",
        "ARMED's random effects reconstruct what belongs to the date: its mixed reconstruction is better than its fixed one",
        Result("armed", "seen"),
        Result("armed", "seen_population"),
        "mse",
    ),
    Claim(
        "inferred_z",
        "inferred Z, classification",
        "Inferring the date of unseen images helps to classify them: better than the population's prediction (Z = 0)",
        Result("armed", "unseen"),
        Result("armed", "unseen_population"),
    ),
    Claim(
        "inferred_z_mse",
        "inferred Z, reconstruction",
        "Inferring the date of unseen images helps to reconstruct them: better than the population's reconstruction (Z = 0)",
        Result("armed", "unseen"),
        Result("armed", "unseen_population"),
        "mse",
    ),
    *_on_both(
        "randomised_z",
        "randomised Z",
        "ARMED uses its random effects: with a randomised Z it classifies worse",
        "armed",
        "armed_randomized_z",
    ),
    *_on_both(
        "randomised_z_mse",
        "randomised Z, reconstruction",
        "ARMED uses its random effects: with a randomised Z it reconstructs worse",
        "armed",
        "armed_randomized_z",
        "mse",
    ),
)

CLAIMS: dict[str, tuple[Claim, ...]] = {"ad_diagnosis": _AD_DIAGNOSIS, "live_cell": _LIVE_CELL}
"""By study.

Of MRI the last two are not numbers of the paper, which shows maps of a few subjects: only a stand-in can tell. Nor are the
linear probe's, the fixed reconstruction's, and those of Z = 0, of live cells.
"""
