"""What the paper claims and how each claim is tested: `config/claims.yaml`, read and checked. Loads no pandas.

`armed.claim_evidence` estimates, `armed.claim_rules` judges, `armed.claims_tables` shows the ledger.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import yaml

from armed import registry, schemas
from armed.config_checks import parse_yaml, problems_of
from armed.errors import ConfigError, Problems, did_you_mean

ROOT = Path(__file__).resolve().parent.parent
CLAIMS = ROOT / "config" / "claims.yaml"
PUBLISHED = ROOT / "config" / "published_results.csv"
SCHEMA = ROOT / "workflow" / "schemas" / "claims.schema.yaml"
OWN = registry.OWN
ELSEWHERE = ("heart",)
"""Studies of the benchmark that the paper does not have."""
NOT_THE_PAPERS = ("rerun",)
"""Tables of `published_results.csv` that the paper does not have: the authors' code, run again."""
_NEEDS = {
    "difference": ("metric", "second"),
    "relative_gain": ("metric", "second"),
    "level": ("metric",),
    "probe_share": ("second",),
    "balance_correlation": (),
    "slope_correlation": ("features",),
    "figure": (),
}
"""Keys that a statistic needs beside those of every claim; it takes no others of them."""
_OPTIONAL = ("metric", "second", "features")
_AGAINST_0 = ("probe_share", "balance_correlation", "slope_correlation")
_OF_METRICS = ("difference", "relative_gain", "level")
GAINS_IN = ("accuracy", "auroc", "auprc", "balanced_accuracy")
"""Metrics that gains are told of: more is better, and 0 is none."""


class Side(NamedTuple):
    """A model on a partition; the partition is empty where no metric is compared."""

    model: str
    partition: str = ""


class Rule(NamedTuple):
    """Name of a rule and what the estimate is held against."""

    name: str
    value: float = 0.0

    @property
    def words(self) -> str:
        """When the claim is supported, for a column of a table."""
        if self.name == "figure":
            return "not judged"
        return f"{self.name.replace('_', ' ')} {self.value:g}"


class Group(NamedTuple):
    """A claim of the paper, which several tests serve."""

    id: str
    statement: str
    where: str


class Claim(NamedTuple):
    """One test of a claim of the paper.

    Attributes
    ----------
    id : str
        Name in `claims.tsv`.
    group : Group
        The claim of the paper that it serves.
    about, statement : str
        What it is about in few words, and what is claimed in plain words, without a full stop.
    where : str
        Where it stands in the paper.
    statistic : str
        What is estimated, one word of the closed list of the schema.
    first, second : Side
        The estimate is of the first, or of the first less the second (None where there is no second).
    rule : Rule
    studies : tuple of str
        Those it is judged in; ``own`` stands for the user's.
    paper : {"numbers", "figure", "words", "none"}
        What the paper has for it.
    metric, features : str
        Metric compared, kind of features correlated over; empty where the statistic has none.
    needs : str
        ``truth`` where only a stand-in can tell.
    """

    id: str
    group: Group
    about: str
    statement: str
    where: str
    statistic: str
    first: Side
    second: Side | None
    rule: Rule
    studies: tuple[str, ...]
    paper: str
    metric: str = ""
    features: str = ""
    needs: str = ""

    @property
    def estimated(self) -> str:
        """What is estimated, as in column `statistic` of `claims.tsv`."""
        first, second = (" ".join(side).strip() if side else "" for side in (self.first, self.second))
        return {
            "difference": f"{self.metric}: {first} - {second}",
            "relative_gain": f"% of {self.metric}: ({first} - {second}) / {second}",
            "level": f"{self.metric}: {first}",
            "probe_share": f"% with a probe: {first} - {second}",
            "balance_correlation": f"r of intercepts and class balance: {first}",
            "slope_correlation": f"r of slopes and univariate models, {self.features}: {first}",
            "figure": "figure",
        }[self.statistic]

    @property
    def unit(self) -> str:
        """Percent sign of estimates told in percent; else empty."""
        return "%" if self.statistic in ("relative_gain", "probe_share") else ""


@functools.cache
def load(path: Path = CLAIMS) -> tuple[Claim, ...]:
    """Read the claims.

    Parameters
    ----------
    path : Path
        File of the form of `config/claims.yaml`.

    Returns
    -------
    tuple of Claim
        In the order of the file.

    Raises
    ------
    ConfigError
        With one sentence for each problem: where it is, what was expected, the nearest valid name.
    """
    try:
        read = parse_yaml(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"The claims cannot be read from {path}: {error}") from error
    problems = Problems(ConfigError, str(path))
    for sentence in find_problems(read):
        problems.add(sentence)
    problems.raise_if_any()
    groups = {id: Group(id, **words) for id, words in read["groups"].items()}
    return tuple(_claim(entry, groups) for entry in read["claims"])


def groups(claims: tuple[Claim, ...]) -> list[Group]:
    """Return the claims of the paper in the order of their tests."""
    return list(dict.fromkeys(claim.group for claim in claims))


def find_problems(read: object) -> list[str]:
    """One sentence for each problem of what a file of claims holds."""
    known = list(read.get("groups") or ()) if isinstance(read, Mapping) else []
    found = problems_of(read, schema(tuple(known)))
    if found:
        return found
    entries = read["claims"]
    ids = [entry["id"] for entry in entries]
    twice = [id for id in dict.fromkeys(ids) if ids.count(id) > 1]
    found = [f"claims: '{id}' names {ids.count(id)} claims; give each its own" for id in twice]
    for entry in entries:
        found += [f"claim '{entry['id']}': {sentence}" for sentence in _inconsistencies(entry)]
    served = {entry["group"] for entry in entries}
    return found + [f"groups.{id} has no claim that tests it" for id in known if id not in served]


def schema(groups: tuple[str, ...] = ()) -> dict:
    """The JSON schema with the ids of the registry and of the file's groups filled in."""
    names = {
        "studies": [*registry.BUILT_IN, OWN],
        "models": list(registry.MODELS),
        "partitions": list(schemas.PARTITIONS),
        "metrics": list(schemas.METRICS),
        "groups": list(groups),
    }
    return _filled(parse_yaml(SCHEMA.read_text(encoding="utf-8")), names)


def is_elsewhere(study: str) -> bool:
    """Whether a study is not one of the paper: its claims are then asked of other data."""
    return study in ELSEWHERE or study not in registry.BUILT_IN


def published(claim: Claim, study: str, path: Path = PUBLISHED) -> float | None:
    """Return the claim's estimate by the paper's printed numbers; None where they do not tell."""
    if claim.statistic not in _OF_METRICS:
        return None
    printed = _printed(path)
    sides = [printed.get((study, *side, claim.metric)) for side in (claim.first, claim.second) if side]
    if None in sides:
        return None
    if claim.statistic == "level":
        return sides[0]
    first, second = sides
    return 100 * (first / second - 1) if claim.statistic == "relative_gain" else first - second


@functools.cache
def _printed(path: Path) -> dict[tuple[str, str, str, str], float]:
    """Published means by study, model, partition and metric; of a number in several tables the first."""
    found: dict = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["table"] not in NOT_THE_PAPERS:
                key = tuple(row[c] for c in ("study", "model", "partition", "metric"))
                found.setdefault(key, float(row["mean"]))
    return found


def _claim(entry: Mapping, groups: Mapping[str, Group]) -> Claim:
    second = entry.get("second")
    return Claim(
        **{key: entry[key] for key in ("id", "about", "statement", "where", "statistic", "paper")},
        group=groups[entry["group"]],
        first=Side(**entry["first"]),
        second=Side(**second) if second else None,
        rule=Rule(**entry["rule"]),
        studies=tuple(entry["studies"]),
        **{key: entry.get(key, "") for key in ("metric", "features", "needs")},
    )


def _inconsistencies(entry: Mapping) -> Iterator[str]:
    """What no schema can say of a claim whose keys and words are valid."""
    statistic, rule = entry["statistic"], entry["rule"]
    needed = _NEEDS[statistic]
    for key in _OPTIONAL:
        if key in needed and key not in entry:
            yield f"statistic {statistic} needs the key '{key}'"
        if key in entry and key not in needed:
            yield f"statistic {statistic} takes no key '{key}'; leave it out"
    for name in ("first", "second"):
        with_partition = "partition" in entry.get(name, {})
        if name in entry and with_partition != (statistic in _OF_METRICS):
            yield f"{name} {'has a' if with_partition else 'needs a'} partition; statistic {statistic} compares " + (
                "a metric on one" if statistic in _OF_METRICS else "none"
            )
    if entry["first"] == entry.get("second"):
        yield "first and second are the same"
    if (rule["name"] == "figure") != (statistic == "figure"):
        yield f"rule {rule['name']} does not fit statistic {statistic}: figures, and they alone, have rule figure"
    if ("value" in rule) == (rule["name"] == "figure"):
        yield f"rule {rule['name']} {'takes no' if 'value' in rule else 'needs a'} value"
    if rule.get("value") and statistic in _AGAINST_0:
        yield f"rule {rule['name']} has the value {rule['value']:g}, but {statistic} is tested against 0 alone"
    if rule["name"] == "at_least" and statistic != "relative_gain":
        yield f"rule at_least is for relative_gain, not for {statistic}"
    if statistic == "relative_gain":
        yield from _unfit_for_gain(entry)
    for study in entry["studies"]:
        for side in (entry["first"], entry.get("second")):
            if side and study != OWN and not registry.applies(side["model"], study):
                near = did_you_mean(side["model"], registry.models_for(study))
                yield f"model '{side['model']}' is not run in {study}.{near}"


def _unfit_for_gain(entry: Mapping) -> Iterator[str]:
    if entry.get("metric") not in GAINS_IN:
        yield f"relative_gain is of {', '.join(GAINS_IN)}, not of {entry.get('metric')}; take difference"
    if entry["first"].get("partition") != entry.get("second", {}).get("partition"):
        yield "relative_gain compares two models on one partition; take difference"


def _filled(node: object, names: Mapping[str, list[str]]) -> object:
    """Replace each ``x-enum`` by the ids it stands for."""
    if isinstance(node, list):
        return [_filled(item, names) for item in node]
    if not isinstance(node, dict):
        return node
    done = {key: _filled(value, names) for key, value in node.items() if key != "x-enum"}
    return done | ({"enum": names[node["x-enum"]]} if "x-enum" in node else {})
