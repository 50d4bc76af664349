"""Tables for readers: results of the long tables, laid out and written as tsv, html fragment and LaTeX."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jinja2
import pandas as pd

from armed import labels
from armed.files import atomic
from armed.metrics import RANGES
from armed.registry import MODELS, SPIRALS

_NUMBER = re.compile(r"[+−<]?\s?\d")
_ORDERED_BY = re.compile(r"([<>]?)\s?x?([+−-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)%?(?:[\s,;(\[].*)?", re.DOTALL)
"""The number that a cell is sorted by: 0.764 of "0.764 [0.758, 0.769]"."""
_MISSING = "–"
_DIGITS = 3
_VERDICTS = {"agrees", "differs", "not comparable", "supported", "contradicted", "inconclusive", "not run"}
_LONG = 40  # characters; longer texts wrap

_LATEX = {c: f"\\{c}" for c in "&%$#_{}"}
_LATEX |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}

SORTED, FILTERED = 6, 15
"""Tables with more rows can be sorted, and filtered, by readers of a page; of fewer all is seen at a glance."""

_FRAGMENT = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
    """\
{% macro attributes(cell) %}
{% if cell.kind %} class="{{ cell.kind }}"{% endif %}{% if cell.order is not none %} data-order="{{ cell.order }}"{% endif %}
{% endmacro %}
<table{% if kind %} class="{{ kind }}"{% endif %}>
{% if caption %}
<caption>{{ caption }}</caption>
{% endif %}
<thead><tr>{% for name, kind in columns %}<th scope="col"{% if kind %} class="{{ kind }}"{% endif %}>{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in rows %}
<tr>{% for cell in row %}<td{{ attributes(cell) }}>{{ cell.text }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table>
"""  # noqa: E501
)


class _Cell(NamedTuple):
    text: object
    kind: str
    order: float | str | None


def number(value: float, digits: int = 3, signed: bool = False) -> str:
    """Format a number with a true minus sign; a dash where it is not defined."""
    if pd.isna(value):
        return _MISSING
    rounded = round(float(value), digits) + 0.0  # adding 0.0 turns -0.0 into 0.0
    sign = "+" if signed and rounded > 0 else ""
    return f"{sign}{rounded:.{digits}f}".replace("-", "−")


def interval(mean: float, low: float, high: float, digits: int = 3, signed: bool = False) -> str:
    """Format ``mean [low, high]``; the mean alone where there is no interval."""
    if pd.isna(mean) or pd.isna(low) or pd.isna(high):
        return number(mean, digits, signed)
    inside = ", ".join(number(v, digits, signed) for v in (low, high))
    return f"{number(mean, digits, signed)} [{inside}]"


def decimals(metric: str, values: Iterable[float]) -> int:
    """Digits after the point for values of a metric that has no highest value: three significant ones of the largest."""
    largest = max((abs(v) for v in values if not pd.isna(v)), default=0.0)
    if metric in RANGES or largest == 0 or 0.1 <= largest < 100:
        return _DIGITS
    return 1 if largest >= 100 else 2 - math.floor(math.log10(largest))


def percent(share: float, low: float, high: float) -> str:
    """Format a share and its interval as ``25% [18, 34]``."""
    if pd.isna(share):
        return _MISSING
    return f"{100 * share:.0f}% [{100 * low:.0f}, {100 * high:.0f}]"


def p_value(p: float) -> str:
    """Format a p value; below 0.001 only that."""
    return "< 0.001" if p < 0.001 else number(p)


def comparison_table(comparison: pd.DataFrame, study: str) -> pd.DataFrame:
    """Lay out paper | ours (interval) | difference | verdict for a study.

    Parameters
    ----------
    comparison : pandas.DataFrame
        `results/comparison.tsv`.
    study : str

    Returns
    -------
    pandas.DataFrame
        Strings, one row per published number, in the registry's order of models.
    """
    rows = ordered(comparison[(comparison["study"] == study) & (comparison["ci_method"] == "corrected")])
    digits = _digits(rows)
    return pd.DataFrame(
        {
            "Model": [labels.model(m, v, study) for m, v in zip(rows["model"], rows["variant"], strict=True)],
            "Paper": _intervals(rows, "published", "published_ci_low", "published_ci_high", digits=digits),
            "Ours": _intervals(rows, "mean", "ci_low", "ci_high", digits=digits),
            "Difference": [number(d, k, signed=True) for d, k in zip(rows["delta"], digits, strict=True)],
            "Verdict": rows["verdict"].astype(str).tolist(),
            "Published in": [labels.published(t) for t in rows["table"]],
            "Clusters": [labels.partition_short(p) for p in rows["partition"]],
            "Data": [_data(v, study) for v in rows["variant"]],
            "Metric": [labels.metric(m) for m in rows["metric"]],
        }
    ).pipe(_without_constant, ("Data",))


def results_table(summary: pd.DataFrame, study: str, metric: str) -> pd.DataFrame:
    """Lay out one metric of a study: models down, partitions and data variants across, mean [interval].

    Parameters
    ----------
    summary : pandas.DataFrame
        `results/summary.tsv`; its `corrected` intervals are shown.
    study, metric : str

    Returns
    -------
    pandas.DataFrame
        Strings; a dash where a partition does not apply to a model or has no result.
    """
    keep = (summary["study"] == study) & (summary["metric"] == metric) & (summary["ci_method"] == "corrected")
    rows = ordered(summary[keep])
    data = [labels.data_variant(v, study) for v in rows["variant"]]
    rows = rows.assign(column=[_column(p, d) for p, d in zip(rows["partition"], data, strict=True)])
    columns = list(dict.fromkeys(rows["column"]))
    digits = decimals(metric, rows["mean"])
    table: dict[str, dict[str, str]] = {}
    for row in rows.itertuples():
        name = labels.model(row.model, row.variant, study)
        table.setdefault(name, {})[row.column] = interval(row.mean, row.ci_low, row.ci_high, digits)
    lines = [{"Model": name} | {c: cells.get(c, _MISSING) for c in columns} for name, cells in table.items()]
    return pd.DataFrame(lines, columns=["Model", *columns])


def tests_table(tests: pd.DataFrame, study: str, metric: str) -> pd.DataFrame:
    """Lay out the paired tests of a study: model against reference, difference [interval], p after Holm."""
    rows = ordered(tests[(tests["study"] == study) & (tests["metric"] == metric)])
    return pd.DataFrame(
        {
            "Model": [labels.model(m, v, study) for m, v in zip(rows["model"], rows["variant"], strict=True)],
            "Clusters": [labels.partition_short(p) for p in rows["partition"]],
            "Data": [_data(v, study) for v in rows["variant"]],
            "Against": [labels.model(m) for m in rows["reference"]],
            "Difference": _intervals(rows, "difference", "ci_low", "ci_high", signed=True),
            "p": [p_value(p) for p in rows["p"]],
            "p (Holm)": [p_value(p) for p in rows["p_holm"]],
            "Seeds": rows["n_seeds"].astype(int).tolist(),
        }
    ).pipe(_without_constant, ("Data",))


def deconfounding_table(shares: pd.DataFrame, study: str) -> pd.DataFrame:
    """Lay out the share in which a probe wins, by the study's criterion (`armed.labels.probe_criterion`)."""
    rows = ordered(shares[shares["study"] == study])
    is_simulated = study in SPIRALS  # with a dataset per seed
    return pd.DataFrame(
        {
            "Model": [labels.model(m, v, study) for m, v in zip(rows["model"], rows["variant"], strict=True)],
            "Data": [_data(v, study) for v in rows["variant"]],
            "A probe wins in" if is_simulated else "A probe in the top ten in": [
                percent(s, low, high)
                for s, low, high in zip(rows["share"], rows["ci_low"], rows["ci_high"], strict=True)
            ],
            "Datasets" if is_simulated else "Seeds": rows["n_seeds"].astype(int).tolist(),
            "Counted by": rows["unit"].astype(str).tolist(),
        }
    ).pipe(_without_constant, ("Data",))


def tuning_table(tuning: pd.DataFrame, study: str) -> pd.DataFrame:
    """Lay out the hyperparameters chosen: the model's own value, the median and the range over the folds, what it gained."""
    rows = ordered(tuning[tuning["study"] == study].assign(variant="main"))
    lines = []
    for (model, name), cells in rows.groupby(["model", "hyperparameter"], sort=False):
        own, chosen = (
            c.set_index(["seed", "fold"]) for c in (cells[cells["candidate"] == 0], cells[cells["chosen"] == 1])
        )
        values = chosen["value"]
        lines.append(
            {
                "Model": labels.model(model),
                "Hyperparameter": name,
                "Own value": f"{own['value'].iloc[0]:.2g}",
                "Chosen (median)": f"{values.median():.2g}",
                "Chosen (range)": f"{values.min():.2g} to {values.max():.2g}",
                "Own settings kept": f"{(chosen['candidate'] == 0).sum()} of {len(chosen)} folds",
                f"Gain in {labels.metric(cells['metric'].iloc[0])}, inner folds": number(
                    (chosen["score"] - own["score"]).mean(), signed=True
                ),
            }
        )
    return pd.DataFrame(lines)


def study_tables(study: str, frames: Mapping[str, pd.DataFrame], metric: str) -> dict[str, pd.DataFrame]:
    """Lay out all tables of a study that have rows.

    Parameters
    ----------
    study : str
    frames : mapping of str to pandas.DataFrame
        Tables ``summary``, ``comparison``, ``paired_tests``, ``deconfounding`` and ``tuning`` of `results/`.
    metric : str
        Metric of the results and of the tests.

    Returns
    -------
    dict of str to pandas.DataFrame
        File name (for `table`) -> table as readers see it.
    """
    made = {
        f"{study}_comparison": comparison_table(frames["comparison"], study),
        f"{study}_results": results_table(frames["summary"], study, metric),
        f"{study}_tests": tests_table(frames["paired_tests"], study, metric),
        f"{study}_deconfounding": deconfounding_table(frames["deconfounding"], study),
        f"{study}_tuning": tuning_table(frames["tuning"], study),
    }
    return {name: frame for name, frame in made.items() if len(frame)}


def fragment(frame: pd.DataFrame, caption: str = "") -> str:
    """Return a table as an HTML fragment, every name and cell escaped.

    Parameters
    ----------
    frame : pandas.DataFrame
        The table as readers see it. Numbers get the class ``num``, long texts ``long``, and cells that begin with a number
        the attribute ``data-order``, by which browsers sort them.
    caption : str, optional
        Text of the ``<caption>``: where the data came from.

    Returns
    -------
    str
    """
    kinds = [_kind(frame[c]) for c in frame.columns]
    orders = zip(*(_orders(frame[c]) for c in frame.columns), strict=True)
    rows = []
    for values, order in zip(frame.itertuples(index=False), orders, strict=True):
        cells = zip(values, kinds, order, frame.columns, strict=True)
        rows.append([_Cell(v, _verdict(v) if name == "Verdict" else kind, o) for v, kind, o, name in cells])
    kind = " ".join(["sortable"] * (len(frame) > SORTED) + ["filtered"] * (len(frame) > FILTERED))
    columns = list(zip(frame.columns, kinds, strict=True))
    return _FRAGMENT.render(kind=kind, caption=caption, columns=columns, rows=rows)


def table(name: str, frame: pd.DataFrame, folder: Path, caption: str = "") -> tuple[Path, Path, Path]:
    """Write ``<name>.tsv``, ``<name>.html`` (a fragment) and ``<name>.tex`` into `folder`.

    Parameters
    ----------
    name : str
        File name without suffix.
    frame : pandas.DataFrame
        The table as readers see it.
    folder : Path
        Made where it does not exist.
    caption : str, optional
        Caption of the HTML and the LaTeX table.

    Returns
    -------
    tuple of Path
        The three files; each appears only when complete.
    """
    texts = {
        "tsv": frame.to_csv(sep="\t", index=False, lineterminator="\n"),
        "html": fragment(frame, caption),
        "tex": _latex(name, frame, caption),
    }
    written = []
    for kind, text in texts.items():
        written.append(Path(folder) / f"{name}.{kind}")
        with atomic(written[-1]) as part:
            part.write_text(text, encoding="utf-8")
    return tuple(written)


def latex(text: str) -> str:
    """Text for LaTeX that shows as it is: a title of anyone's is no command."""
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))


def _latex(name: str, frame: pd.DataFrame, caption: str) -> str:
    styler = frame.style.hide(axis="index").format(escape="latex", na_rep=_MISSING)
    styler = styler.format_index(escape="latex", axis=1)
    layout = "".join("r" if _is_numeric(frame[c]) else "l" for c in frame.columns)
    text = styler.to_latex(hrules=True, column_format=layout, caption=latex(caption) or None, label=f"tab:{name}")
    return text.replace("−", "$-$").replace(_MISSING, "--")


def _data(variant: str, study: str) -> str:
    return labels.variant_name(labels.data_variant(variant, study))


def _column(partition: str, data: str) -> str:
    name = labels.partition(partition)
    return name if data == "main" else f"{name}, {labels.variant_name(data)}"


def _intervals(rows: pd.DataFrame, *columns: str, signed: bool = False, digits: Sequence[int] = ()) -> list[str]:
    values = zip(*(rows[c] for c in columns), strict=True)
    digits = digits or [_DIGITS] * len(rows)
    return [interval(*cells, k, signed) for cells, k in zip(values, digits, strict=True)]


def _digits(rows: pd.DataFrame) -> list[int]:
    """Digits of each row, the same for all of a metric."""
    of_metric = {m: decimals(m, [*own["mean"], *own["published"]]) for m, own in rows.groupby("metric", sort=False)}
    return [of_metric[m] for m in rows["metric"]]


def ordered(rows: pd.DataFrame) -> pd.DataFrame:
    """Order rows by partition, variant of the data, model of the registry, changed settings last; others keep their place."""
    variants = [labels.data_variants(s) for s in rows["study"]]
    data = [
        v.index(labels.data_variant(x, s)) for v, x, s in zip(variants, rows["variant"], rows["study"], strict=True)
    ]
    keys = pd.DataFrame(index=rows.index)
    if "table" in rows:
        keys["table"] = pd.factorize(rows["table"])[0]
    if "partition" in rows:
        keys["partition"] = _places(rows["partition"], labels.PARTITIONS)
    keys["data"] = data
    keys["model"] = _places(rows["model"], MODELS)
    keys["changed"] = [x not in v for v, x in zip(variants, rows["variant"], strict=True)]
    return rows.loc[keys.sort_values(list(keys.columns), kind="stable").index]


def _places(column: pd.Series, order: Iterable[str]) -> list[int]:
    place = {name: i for i, name in enumerate(order)}
    return [place.get(value, len(place)) for value in column]


def _without_constant(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Drop those of `columns` that say the same in every row."""
    return frame.drop(columns=[c for c in columns if frame[c].nunique() <= 1])


def _kind(column: pd.Series) -> str:
    """Class of a column's cells: numbers to the right, long texts in several lines."""
    if _is_numeric(column):
        return "num"
    return "long" if max((len(str(v)) for v in column), default=0) > _LONG else ""


def _is_numeric(column: pd.Series) -> bool:
    texts = [str(v) for v in column]
    return bool(texts) and all(_NUMBER.match(t) or t == _MISSING for t in texts)


def _orders(column: pd.Series) -> list[float | str | None]:
    """What the cells of a column are sorted by where all of them begin with a number; none last or first."""
    texts = [str(v).strip() for v in column]
    found = [_ORDERED_BY.fullmatch(t) for t in texts]
    if not any(found) or not all(f or t in ("", _MISSING) for f, t in zip(found, texts, strict=True)):
        return [None] * len(texts)
    numbers = [float(f[2].replace("−", "-")) if f else "" for f in found]
    ahead = {"<": -math.inf, ">": math.inf}
    return [math.nextafter(n, ahead[f[1]]) if f and f[1] else n for n, f in zip(numbers, found, strict=True)]


def _verdict(value: str) -> str:
    return f"verdict-{str(value).replace(' ', '-')}" if value in _VERDICTS else ""
