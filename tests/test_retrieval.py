"""Public data files: the list of them, and where they come from. No network but this machine's own."""

from __future__ import annotations

import hashlib
import http.server
import os
import re
import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from armed import retrieval
from armed.data import heart
from armed.errors import DataError, RetrievalError, UnknownNameError
from armed.retrieval import DataFile, available, datasets, files_of, mirror_folder, retrieve, retrieve_all

CONTENT = b"1,2,3\n" * 50_000
HASH = hashlib.sha256(CONTENT).hexdigest()
HEADER = "name,file,url,sha256,licence,access,citation"


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT as /good, half of it as /cut, something else as /other."""

    def do_GET(self):
        content = {"/good": CONTENT, "/cut": CONTENT, "/other": b"<html>moved</html>"}.get(self.path)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if self.path == "/cut" else content)

    def log_message(self, *args):
        """Keep quiet."""


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{served.server_address[1]}"
        served.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv(retrieval.MIRROR_VARIABLE, raising=False)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "raw" / "a.csv"


@pytest.fixture
def file():
    """A file at an address where nobody answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return DataFile("study", "a.csv", f"http://127.0.0.1:{port}/a.csv", HASH, "CC0", "open", "Us (2020)")


@pytest.fixture
def local(tmp_path):
    """A mirror of the file."""
    path = tmp_path / "mirror" / "study" / "a.csv"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    return tmp_path / "mirror"


def nothing_left(out: Path) -> bool:
    return not out.parent.exists() or not os.listdir(out.parent)


class TestSources:
    def test_by_url(self, server, file, out):
        assert retrieve(replace(file, url=f"{server}/good"), out) == "url"
        assert out.read_bytes() == CONTENT and os.listdir(out.parent) == ["a.csv"]

    def test_by_file_url(self, local, file, out):
        url = (local / "study" / "a.csv").as_uri()
        assert retrieve(replace(file, url=url), out) == "url"
        assert out.read_bytes() == CONTENT

    def test_the_mirror_comes_first_and_needs_no_network(self, local, file, out):
        assert retrieve(file, out, local) == "mirror"
        assert out.read_bytes() == CONTENT and os.listdir(out.parent) == ["a.csv"]

    def test_what_is_right_stays(self, file, out):
        out.parent.mkdir()
        out.write_bytes(CONTENT)
        before = out.stat()
        assert retrieve(file, out) == "kept"
        assert out.stat() == before

    def test_what_is_wrong_is_replaced_and_told(self, local, file, out, caplog):
        out.parent.mkdir()
        out.write_bytes(b"half")
        assert retrieve(file, out, local) == "mirror"
        assert out.read_bytes() == CONTENT
        assert "was there, but its sha256 is" in caplog.text

    def test_a_wrong_or_missing_mirror_is_passed_over(self, server, local, file, out, caplog):
        (local / "study" / "a.csv").write_bytes(b"stale")
        good = replace(file, url=f"{server}/good")
        assert retrieve(good, out, local) == "url"
        assert f"{local / 'study' / 'a.csv'} is there, but its sha256 is" in caplog.text
        out.unlink()
        assert retrieve(good, out, local / "nowhere") == "url"


class TestFailures:
    def test_nothing_anywhere(self, file, out, tmp_path):
        with pytest.raises(RetrievalError) as error:
            retrieve(file, out, tmp_path / "mirror")
        message = str(error.value)
        place = tmp_path / "mirror" / "study" / "a.csv"
        assert message.startswith(f"a.csv of study could not be had (sha256 expected: {HASH}):")
        assert f"{place} is not there" in message and f"{file.url}: <urlopen error" in message
        assert f"download {file.url} and put it at {place}, or at {out}" in message
        assert nothing_left(out)

    def test_without_a_mirror_it_tells_of_mirrors(self, file, out):
        with pytest.raises(RetrievalError, match=r"no mirror is set \(data_mirror .* or ARMED_DATA_MIRROR\)") as error:
            retrieve(file, out)
        assert "put it at study/a.csv in a folder that data_mirror or ARMED_DATA_MIRROR names" in str(error.value)

    @pytest.mark.parametrize(
        ("page", "content"), [("other", b"<html>moved</html>"), ("cut", CONTENT[: len(CONTENT) // 2])]
    )
    def test_another_content(self, server, file, out, page, content):
        found = hashlib.sha256(content).hexdigest()
        url = f"{server}/{page}"
        told = re.escape(f"{url} is there, but its sha256 is {found}; expected {HASH}")
        with pytest.raises(RetrievalError, match=told):
            retrieve(replace(file, url=url), out)
        assert nothing_left(out)

    def test_no_such_page(self, server, file, out):
        with pytest.raises(RetrievalError, match=r"/gone: HTTP Error 404"):
            retrieve(replace(file, url=f"{server}/gone"), out)
        assert nothing_left(out)

    def test_nobody_answers_in_time(self, file, out):
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            url = f"http://127.0.0.1:{silent.getsockname()[1]}/a.csv"
            with pytest.raises(RetrievalError, match="timed out"):
                retrieve(replace(file, url=url), out, timeout=0.2)
        assert nothing_left(out)

    def test_what_was_there_stays(self, file, out, local):
        (local / "study" / "a.csv").write_bytes(b"stale")
        out.parent.mkdir()
        out.write_bytes(b"by hand")
        with pytest.raises(RetrievalError, match=r"a\.csv was there, but its sha256 is"):
            retrieve(file, out, local)
        assert out.read_bytes() == b"by hand" and os.listdir(out.parent) == ["a.csv"]

    def test_files_on_request(self, file, out):
        closed = replace(file, access="request", url="", sha256="")
        with pytest.raises(RetrievalError, match="given on request only"):
            retrieve(closed, out)

    def test_all_files_are_told_in_one_error(self, server, file, tmp_path):
        files = [
            replace(file, file="b.csv", url=f"{server}/good"),
            file,
            replace(file, file="c.csv", url=f"{server}/gone"),
        ]
        with pytest.raises(RetrievalError, match=r"(?s)^a\.csv of study.*\nc\.csv of study"):
            retrieve_all(files, tmp_path / "raw")
        assert os.listdir(tmp_path / "raw") == ["b.csv"]
        assert retrieve_all(files[:1], tmp_path / "raw") == [tmp_path / "raw" / "b.csv"]


class TestMirrorFolder:
    def test_the_configuration_wins_over_the_environment(self, monkeypatch, tmp_path):
        assert mirror_folder() is None and mirror_folder("") is None
        monkeypatch.setenv(retrieval.MIRROR_VARIABLE, str(tmp_path / "variable"))
        assert mirror_folder() == tmp_path / "variable"
        assert mirror_folder(str(tmp_path / "key")) == tmp_path / "key"

    def test_relative_to_the_repository(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert mirror_folder("data", root=tmp_path / "repository") == tmp_path / "repository" / "data"

    def test_available(self, local, file):
        other = replace(file, file="b.csv")
        assert available([file], local)
        assert not available([file, other], local) and not available([file], None)


class TestList:
    def test_the_projects_list(self):
        files = files_of("heart")
        assert [file.file for file in files] == list(heart.HOSPITALS)
        for file in files:
            assert file.url.startswith("https://archive.ics.uci.edu/") and file.url.endswith(f"/{file.file}")
            assert (file.licence, file.access) == ("CC BY 4.0", "open") and "10.24432/C52P4X" in file.citation

    def test_it_is_the_mirrors_files(self, mirror, tmp_path):
        files = files_of("heart")
        folder = mirror("heart/processed.va.data").parents[1]
        assert available(files, folder)
        closed = [replace(file, url="file:///nowhere") for file in files]
        for file, path in zip(files, retrieve_all(closed, tmp_path, folder), strict=True):
            assert retrieval.sha256(path) == file.sha256

    def test_unknown_data_set(self):
        with pytest.raises(UnknownNameError, match=r"no data set 'hearts'\. Did you mean 'heart'"):
            files_of("hearts")

    def test_all_problems_at_once(self, tmp_path):
        path = tmp_path / "datasets.csv"
        good = f"a,x.csv,https://example.org/x.csv,{HASH},CC0,open,Us"
        rows = [
            HEADER,
            good,
            good,
            f"a,../y.csv,ftp://example.org/y,{HASH.upper()},,opened,Us",
            "a,z.csv,,,own,request,Us",
            "a,w.csv,,,CC0,open,Us",
            "a,b",
        ]
        path.write_text("\n".join(rows) + "\n")
        with pytest.raises(DataError) as error:
            datasets(path)
        message = str(error.value)
        for told in (
            "line 3: x.csv of a is listed twice; keep one",
            "line 4: file is '../y.csv'; expected a plain name, without folders",
            "line 4: url is 'ftp://example.org/y'",
            "line 4: sha256 is",
            "line 4: licence is empty",
            "line 4: access is 'opened'; expected open or request. Did you mean 'open'?",
            "line 6: url is ''",
            "line 6: sha256 is ''",
            "line 7 does not have 7 values",
        ):
            assert told in message
        assert message.startswith("9 problems with ")

    def test_wrong_columns(self, tmp_path):
        path = tmp_path / "datasets.csv"
        path.write_text("name,url\n")
        with pytest.raises(DataError, match=f"its columns are name, url; expected {HEADER.replace(',', ', ')}"):
            datasets(path)


def test_what_failed_before_is_tried_again(tmp_path):
    receipt = tmp_path / "heart.json"
    assert retrieval.failed_before(receipt) == ""
    receipt.write_text('{"files": ["a.data"], "problem": ""}', encoding="utf-8")
    assert retrieval.failed_before(receipt) == ""
    receipt.write_text('{"files": [], "problem": "no network"}', encoding="utf-8")
    assert float(retrieval.failed_before(receipt)) > 0
