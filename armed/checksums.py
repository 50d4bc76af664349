"""Checksums of what jobs wrote, so that the jobs that read it notice damage and swapped files.

They lie beside the results, one file for each output, as ``sha256sum --check`` reads them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from armed.errors import DamagedError, Problems
from armed.files import atomic, sha256

RESULTS = Path("results")
FOLDER = RESULTS / "checksums"


def note(outputs: Iterable[Path]) -> None:
    """Keep the checksums of files, and of all files in folders, of the results; what is not there has none."""
    for output in outputs:
        if (record := _record(output)) and output.exists():
            lines = [f"{sha256(path)}  {path.as_posix()}\n" for path in _files(output)]
            with atomic(record) as temporary:
                temporary.write_text("".join(lines), encoding="utf-8")


def forget(outputs: Iterable[Path]) -> None:
    """Remove the checksums of what is about to be written anew."""
    for output in outputs:
        if record := _record(output):
            record.unlink(missing_ok=True)


def check(inputs: Iterable[Path]) -> None:
    """Compare files and folders with their checksums; those without any, such as a user's own files, are not looked at.

    Raises
    ------
    DamagedError
        Of all inputs that are not what was written.
    """
    problems = Problems(DamagedError, "the results that this job reads")
    for path in inputs:
        if (record := _record(path)) and record.is_file() and (found := _difference(path, record)):
            problems.add(
                f"{found} since {path} was written. Delete {path} and run the same command again, and it is made anew; "
                f"if the change is meant, delete {record} instead"
            )
    problems.raise_if_any()


def _difference(path: Path, record: Path) -> str:
    """What is not as it was when a file or folder was written, or nothing."""
    then = {}
    for line in record.read_text(encoding="utf-8", errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        then[name] = digest
    now = {file.as_posix(): file for file in _files(path)}
    if missing := then.keys() - now.keys():
        return f"{min(missing)} was deleted"
    if more := now.keys() - then.keys():
        return f"{min(more)} was added"
    changed = [name for name, file in now.items() if sha256(file) != then[name]]
    return f"{changed[0]} was damaged or changed" if changed else ""


def _record(path: Path) -> Path | None:
    """Where the checksums of an output are kept; None outside the results."""
    if not path.is_relative_to(RESULTS):
        return None
    inside = path.relative_to(RESULTS)
    return FOLDER / inside.parent / f"{inside.name}.sha256"


def _files(path: Path) -> Iterator[Path]:
    """A file itself, or the files of a folder but the hidden ones, which are Snakemake's."""
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    return (file for file in found if file.is_file() and not file.name.startswith("."))
