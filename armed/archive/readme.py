"""The page of words in an archive: what it is, what is in it, whose the data are, how to check it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from armed import labels
from armed.retrieval import datasets

_KEPT = {"whole": "whole: data, predictions and all tables", "aggregates": "numbers over many subjects alone"}
_TEXT = """# {title}

Results of the ARMED benchmark (mixed effects deep learning on clustered data), made with version {version} of its code,
commit {commit}.

- `results/report.html`: the report, one page that opens offline{report}.
- `results/*.tsv`: all tables, one number a row, tab-separated; `docs/results.md` of the code explains every column.
- `results/predictions/`: predictions of every fit, as logits. `results/latents/`: codes and errors of autoencoders.
- `results/data/`, `results/splits/`: the data and the folds. `results/runs/`: a record of every fit.
- `results/tables/`, `results/figures/`: tables and figures of the report.
- `config/`: the whole configuration that was run, the published numbers and the claims that the results are held against.
- `manifest.json`: every file with its size and SHA-256, what it is, and what was left out, and why.

## Check it

With the code of that commit installed (`make setup`):

    make verify ARCHIVE=path/to/this.zip

Nothing of the archive is run. Digests are compared with the manifest, every table that follows from what is in the archive is
computed again, and what cannot be is listed. That numbers follow from each other does not say who made them: compare the
SHA-256 of the whole file with the one that the place of deposit tells.

## Data

| Study | Data | In this archive |
|---|---|---|
{studies}

Simulated data and stand-ins are made by the code, and come under its licence (`LICENSE`). Stand-ins are no measurements, and
no reproduction of the paper's results. Stand-in brain volumes are made of the template ICBM 152 (nonlinear symmetric 2009a,
copyright Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill University), which may be
used and passed on with this notice.
{open}{withheld}"""
_WITHHELD = """
Withheld are data that were given on request or that are the user's own: {studies}. Of these no subject, no cluster and
no value of a subject is in this archive; see `left_out` and `changed` in `manifest.json`.
"""


def readme(title: str, studies: Mapping[str, Mapping[str, str]], withheld: Iterable[str], made_by: Mapping) -> str:
    """The text.

    Parameters
    ----------
    title : str
    studies : mapping
        By study: ``source``, and what is ``kept`` (``whole`` or ``aggregates``).
    withheld : iterable of str
        Studies of which only aggregates are kept.
    made_by : mapping
        ``commit`` and ``version`` of the code.
    """
    withheld = list(withheld)
    rows = [f"| {labels.study(s)} | {labels.source(t['source'])} | {_KEPT[t['kept']]} |" for s, t in studies.items()]
    named = ", ".join(labels.study(study) for study in withheld)
    return _TEXT.format(
        title=title,
        version=made_by["version"],
        commit=made_by["commit"] or "not known",
        report=" (left out here: it shows withheld data)" if withheld else "",
        studies="\n".join(rows),
        open=_open(study for study, told in studies.items() if told["source"] == "open"),
        withheld=_WITHHELD.format(studies=named) if withheld else "",
    )


def _open(studies: Iterable[str]) -> str:
    lines = [
        f"- {labels.study(study)}: {licence}. {citation}" for study in studies for licence, citation in _terms(study)
    ]
    return "\nOpen data come under the licence of their owners:\n\n" + "\n".join(lines) + "\n" if lines else ""


def _terms(study: str) -> list[tuple[str, str]]:
    """Licence and citation of a study's open data."""
    return list(dict.fromkeys((file.licence, file.citation) for file in datasets() if file.name == study))
