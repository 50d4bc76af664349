"""Public data files: from a mirror folder or by URL, checked by SHA-256. Loads no torch, standard library only.

`config/datasets.csv` lists the files. A mirror is a folder with one folder for each data set,
``<mirror>/heart/processed.cleveland.data``; the key `data_mirror` of the configuration or the environment variable
``ARMED_DATA_MIRROR`` names it.
"""

from __future__ import annotations

import csv
import http.client
import json
import logging
import os
import re
import shutil
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from armed.errors import DataError, Problems, RetrievalError, UnknownNameError, did_you_mean
from armed.files import atomic, sha256
from armed.reproducibility import ROOT

logger = logging.getLogger(__name__)

DATASETS = ROOT / "config" / "datasets.csv"
MIRROR_VARIABLE = "ARMED_DATA_MIRROR"
ACCESS = ("open", "request")
"""Whether anyone may fetch a file, or its owner gives it on request (then it has no URL and no hash)."""


@dataclass(frozen=True)
class DataFile:
    """One file of a data set: a row of `config/datasets.csv`.

    Parameters
    ----------
    name : str
        Data set; the name of the study that uses it, and of the folder in a mirror.
    file : str
        File name, without folders.
    url : str
        Where it is to be had.
    sha256 : str
        64 lower-case hexadecimal digits.
    licence, access, citation : str
        Under what licence, how (`ACCESS`), and how to cite it.
    """

    name: str
    file: str
    url: str
    sha256: str
    licence: str
    access: str
    citation: str


def datasets(path: str | Path = DATASETS) -> list[DataFile]:
    """Read the list of data files.

    Raises
    ------
    DataError
        With all problems of the list: columns, repeated files, addresses and hashes that cannot be.
    """
    path = Path(path)
    problems = Problems(DataError, str(path))
    expected = [field.name for field in fields(DataFile)]
    with path.open(encoding="utf-8-sig", newline="") as opened:
        reader = csv.DictReader(opened)
        if reader.fieldnames != expected:
            given = ", ".join(reader.fieldnames or ["none"])
            problems.add(f"its columns are {given}; expected {', '.join(expected)}")
            problems.raise_if_any()
        rows = [(reader.line_num, row) for row in reader]
    files = []
    for line, row in rows:
        if None in row or None in row.values():
            problems.add(f"line {line} does not have {len(expected)} values; put values with commas in quotes")
            continue
        file = DataFile(**row)
        if any((file.name, file.file) == (other.name, other.file) for other in files):
            problems.add(f"line {line}: {file.file} of {file.name} is listed twice; keep one")
        for wrong in _problems_of(file):
            problems.add(f"line {line}: {wrong}")
        files.append(file)
    problems.raise_if_any()
    return files


def files_of(name: str, path: str | Path = DATASETS) -> list[DataFile]:
    """Return the files of one data set, or raise `UnknownNameError` with the names there are."""
    files = datasets(path)
    found = [file for file in files if file.name == name]
    if not found:
        names = list(dict.fromkeys(file.name for file in files))
        raise UnknownNameError(
            f"{path} has no data set '{name}'.{did_you_mean(name, names)} Known: {', '.join(names)}."
        )
    return found


def mirror_folder(configured: str | Path | None = None, root: Path = ROOT) -> Path | None:
    """Return the mirror folder: as configured, else as the environment variable says, else None.

    A relative path starts at the repository's root, so that it does not change with the folder a run is in.
    """
    given = configured or os.environ.get(MIRROR_VARIABLE)
    return root / Path(given).expanduser() if given else None


def in_mirror(file: DataFile, mirror: Path) -> Path:
    """Return where a file is in a mirror, be it there or not."""
    return Path(mirror) / file.name / file.file


def available(files: Sequence[DataFile], mirror: Path | None) -> bool:
    """Tell whether a mirror has all of the files. Looks at names only: `retrieve` checks the content."""
    return mirror is not None and all(in_mirror(file, mirror).is_file() for file in files)


def retrieve(file: DataFile, out: str | Path, mirror: Path | None = None, *, timeout: float = 60.0) -> str:
    """Put a file in its place: what is there already if it is right, else from the mirror, else by URL.

    Parameters
    ----------
    file : DataFile
        The file wanted.
    out : path
        Where to put it. It appears only when complete and right; what was there stays until then.
    mirror : Path or None
        Mirror folder (`mirror_folder`).
    timeout : float
        Seconds without an answer after which the download is given up.

    Returns
    -------
    {"kept", "mirror", "url"}
        Where it came from.

    Raises
    ------
    RetrievalError
        It was to be had nowhere, or only with another hash. Tells what was tried and where to put the file by hand.
    """
    out = Path(out)
    if file.access != "open":
        raise RetrievalError(f"{file.file} of {file.name} is given on request only: {file.citation}; put it at {out}.")
    tried = []
    if out.is_file():
        if (found := sha256(out)) == file.sha256:
            return "kept"
        tried.append(f"{out} was there, but {_mismatch(file, found)}")
    sources = {} if mirror is None else {"mirror": str(in_mirror(file, mirror))}
    for kind, source in {**sources, "url": file.url}.items():
        try:
            _fetch(file, kind, source, out, timeout)
        except (OSError, http.client.HTTPException, ValueError) as error:
            tried.append(_told(error, source))
            continue
        for failure in tried:
            logger.warning("%s; taken from %s instead", failure, source)
        logger.info("%s of %s taken from %s", file.file, file.name, source)
        return kind
    raise RetrievalError(_message(file, out, mirror, tried))


def retrieve_all(
    files: Sequence[DataFile], folder: str | Path, mirror: Path | None = None, *, timeout: float = 60.0
) -> list[Path]:
    """Put all files in a folder, as `retrieve` does; those that cannot be had are told in one error.

    Returns
    -------
    list of Path
        In the order of `files`.
    """
    paths = [Path(folder) / file.file for file in files]
    failures = []
    for file, path in zip(files, paths, strict=True):
        try:
            retrieve(file, path, mirror, timeout=timeout)
        except RetrievalError as error:
            failures.append(str(error))
    if failures:
        raise RetrievalError("\n".join(failures))
    return paths


@dataclass(frozen=True)
class Receipt:
    """What came of retrieving a data set.

    Parameters
    ----------
    files : tuple of str
        Where its files are; none where it could not be had.
    problem : str
        Why not; empty where it could.
    """

    files: tuple[str, ...]
    problem: str = ""

    @classmethod
    def read(cls, path: str | Path) -> Receipt:
        """Read what `retrieve_with_receipt` wrote."""
        told = json.loads(Path(path).read_text(encoding="utf-8"))
        return cls(tuple(told["files"]), told["problem"])


def retrieve_with_receipt(name: str, out: str | Path, mirror: Path | None = None, *, timeout: float = 60.0) -> Receipt:
    """Put the files of a data set beside a receipt, in a folder of its name; where they cannot be had the receipt says why.

    Returns
    -------
    Receipt
        As written to `out`, a JSON file.
    """
    out = Path(out)
    try:
        paths = retrieve_all(files_of(name), out.with_suffix(""), mirror, timeout=timeout)
        receipt = Receipt(tuple(str(path) for path in paths))
    except RetrievalError as error:
        logger.warning("The data set '%s' is not to be had, and what needs it is not run. %s", name, error)
        receipt = Receipt((), str(error))
    with atomic(out) as temporary:
        temporary.write_text(json.dumps(asdict(receipt), indent=1), encoding="utf-8")
    return receipt


def failed_before(receipt: str | Path) -> str:
    """Tell the time where a receipt says that an earlier attempt failed, so that the next run tries again; else nothing."""
    path = Path(receipt)
    return str(time.time()) if path.is_file() and Receipt.read(path).problem else ""


def _fetch(file: DataFile, kind: str, source: str, out: Path, timeout: float) -> None:
    if kind == "mirror" and not Path(source).is_file():  # before atomic() makes the folder of `out`
        raise FileNotFoundError(f"{source} is not there")
    with atomic(out) as temporary:
        if kind == "mirror":
            shutil.copyfile(source, temporary)
        else:
            with urllib.request.urlopen(source, timeout=timeout) as answer, temporary.open("wb") as opened:
                shutil.copyfileobj(answer, opened)
        if (found := sha256(temporary)) != file.sha256:
            raise RetrievalError(f"{source} is there, but {_mismatch(file, found)}")


def _mismatch(file: DataFile, found: str) -> str:
    return f"its sha256 is {found}; expected {file.sha256}"


def _told(error: Exception, source: str) -> str:
    text = str(error) or type(error).__name__
    return text if source in text else f"{source}: {text}"


def _message(file: DataFile, out: Path, mirror: Path | None, tried: list[str]) -> str:
    if mirror is None:
        tried = [*tried, f"no mirror is set (data_mirror in the configuration, or {MIRROR_VARIABLE})"]
        by_hand = f"at {file.name}/{file.file} in a folder that data_mirror or {MIRROR_VARIABLE} names"
    else:
        by_hand = f"at {in_mirror(file, mirror)}"
    return (
        f"{file.file} of {file.name} could not be had (sha256 expected: {file.sha256}):\n"
        + "".join(f"  - {failure}\n" for failure in tried)
        + f"  By hand: download {file.url} and put it {by_hand}, or at {out}."
    )


def _problems_of(file: DataFile) -> list[str]:
    found = [f"{key} is empty" for key in ("name", "file", "licence", "citation") if not getattr(file, key).strip()]
    for key in ("name", "file"):
        if re.search(r"[/\\]|^\.+$", getattr(file, key)):
            found.append(f"{key} is '{getattr(file, key)}'; expected a plain name, without folders")
    if file.access not in ACCESS:
        hint = did_you_mean(file.access, ACCESS)
        found.append(f"access is '{file.access}'; expected {' or '.join(ACCESS)}.{hint}")
    is_optional = file.access == "request"
    if not re.match(r"(https?://[^/\s]+/|file:///)\S+$", file.url) and not (is_optional and not file.url):
        found.append(f"url is '{file.url}'; expected an address such as https://example.org/file.csv")
    if not re.fullmatch(r"[0-9a-f]{64}", file.sha256) and not (is_optional and not file.sha256):
        found.append(f"sha256 is '{file.sha256}'; expected 64 digits 0-9 and a-f; `sha256sum FILE` tells them")
    return found
