"""Files and folders appear whole, or what was there stays."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from armed import files
from armed.files import atomic


def test_a_file_appears_only_when_complete(tmp_path):
    path = tmp_path / "new" / "a.svg"
    with atomic(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        assert temporary.suffix == ".svg" and temporary.parent == path.parent
    assert path.read_text() == "half"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_keeps_what_was_there(tmp_path, error):
    for name in ("file", "folder"):
        path = tmp_path / name
        with atomic(path, folder=name == "folder") as temporary:
            (temporary / "x" if name == "folder" else temporary).write_text("old")
        with pytest.raises(error), atomic(path, folder=name == "folder") as temporary:
            (temporary / "x" if name == "folder" else temporary).write_text("new")
            raise error
        assert (path / "x" if name == "folder" else path).read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_a_folder_replaces_a_folder_and_a_file_a_file(tmp_path):
    path = tmp_path / "run"
    for text in ("one", "two"):
        with atomic(path, folder=True) as temporary:
            (temporary / f"{text}.json").write_text(text)
    assert [p.name for p in path.iterdir()] == ["two.json"]
    for text in ("one", "two"):
        with atomic(tmp_path / "f") as temporary:
            temporary.write_text(text)
    assert (tmp_path / "f").read_text() == "two"
    assert sorted(os.listdir(tmp_path)) == ["f", "run"]


def test_a_folder_that_cannot_be_put_in_place_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "run"
    with atomic(path, folder=True) as temporary:
        (temporary / "old").touch()
    replace = os.replace

    def fail(source, target):
        if Path(source).name.startswith(".partial"):
            raise OSError("disk full")
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"), atomic(path, folder=True) as temporary:
        (temporary / "new").touch()
    assert [p.name for p in path.iterdir()] == ["old"]
    assert os.listdir(tmp_path) == ["run"]


def test_writing_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="Nothing was written"), atomic(tmp_path / "x"):
        pass


def test_leftovers_of_killed_processes_go(tmp_path):
    """A process killed in the block leaves its temporary folder; the next writer of the same path clears it away."""
    target = tmp_path / "runs"
    code = (
        "import os, signal; from armed.files import atomic\n"
        f"with atomic({str(target)!r}, folder=True) as part:\n"
        "    (part / 'half').write_text('x'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert [p.name.startswith(".partial-") for p in tmp_path.iterdir()] == [True]
    with atomic(target, folder=True) as mine, atomic(tmp_path / "other") as other:
        (mine / "whole").write_text("y")
        other.write_text("z")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other", "runs"]
