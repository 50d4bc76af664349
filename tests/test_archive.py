"""Archives for deposit: the file is the same for the same results, nothing of withheld data is in it, bad ones are refused."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import zipfile

import numpy as np
import pandas as pd
import pytest
import yaml
from archive_results import MARK, OWN, RESTRICTED, small_config, write_run

from armed import config as configuration
from armed import registry, results
from armed.archive import files
from armed.archive.make import make_archive
from armed.archive.privacy import shown_config, sources, without_subjects
from armed.errors import ArchiveError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A results folder of a simulation, a stand-in, a restricted study and one of the user's own."""
    folder = tmp_path_factory.mktemp("run")
    config = small_config(folder, ["spirals_radius", "mci_conversion", RESTRICTED, OWN])
    write_run(folder / "results", config)
    yield folder, config
    registry.STUDIES.pop(OWN, None)


@pytest.fixture(scope="module")
def archive(run):
    folder, config = run
    make_archive(folder / "results", config, folder / "a.zip")
    with zipfile.ZipFile(folder / "a.zip") as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def texts(members):
    """Content of all members, of compressed ones inside too, as text."""
    for name, content in members.items():
        yield name, name
        yield name, content.decode("latin-1")
        if name.endswith(".npz"):
            with np.load(io.BytesIO(content)) as arrays:
                yield name, " ".join(str(v) for a in arrays.values() for v in np.ravel(a).tolist())
        if name.endswith(".parquet"):
            yield name, pd.read_parquet(io.BytesIO(content)).to_csv()


class TestPrivacy:
    def test_no_name_of_a_withheld_subject_cluster_label_or_level_is_anywhere(self, archive):
        found = [name for name, text in texts(archive) if MARK in text]
        assert found == []

    def test_the_search_would_have_found_them(self, run):
        folder = run[0] / "results"
        kinds = [f"data/{OWN}.npz", f"predictions/{RESTRICTED}/armed.parquet", "cluster_metrics.tsv", "importance.tsv"]
        found = {name for name, text in texts({kind: (folder / kind).read_bytes() for kind in kinds}) if MARK in text}
        assert found == set(kinds)

    def test_no_individual_file_of_a_withheld_study(self, archive):
        own = {name for name in archive if OWN in name or RESTRICTED in name}
        assert own == {f"results/runs/{s}/{m}/run.json" for s in (OWN, RESTRICTED) for m in ("conventional", "armed")}
        assert "results/report.html" not in archive

    def test_aggregates_of_withheld_studies_are_there_and_rows_of_clusters_are_not(self, run, archive, tmp_path):
        folder, _ = run
        for name in (
            "metrics",
            "summary",
            "thresholds",
            "paired_tests",
            "cluster_metrics",
            "random_effects",
            "importance",
        ):
            (tmp_path / f"{name}.tsv").write_bytes(archive[f"results/{name}.tsv"])
            kept, whole = (
                results.read(name, tmp_path / f"{name}.tsv"),
                results.read(name, folder / "results" / f"{name}.tsv"),
            )
            gone = {"cluster_metrics": {OWN, RESTRICTED}, "random_effects": {OWN, RESTRICTED}, "importance": {OWN}}
            expected = whole[~whole["study"].isin(gone.get(name, set()))]
            assert len(kept) == len(expected) and set(kept["study"]) == set(expected["study"])
            if name == "metrics":
                assert (kept["value"].to_numpy() == expected["value"].to_numpy()).all()
                assert set(kept.loc[kept["study"] == OWN, "note"]) == {
                    "",
                    "chance 0.1; constant in training, coefficient 0",
                }
                assert kept.loc[kept["study"] == "spirals_radius", "note"].str.endswith("sex=f").any()

    def test_what_is_left_out_is_told_with_the_reason(self, archive):
        manifest = json.loads(archive["manifest.json"])
        told = {entry["what"]: entry["reason"] for entry in manifest["left_out"]}
        assert all(told.values())
        for what in (f"predictions/{OWN}/armed.parquet", f"data/{RESTRICTED}.npz", "report.html", f"figures/{OWN}_*"):
            assert what in told
        assert f"cluster_metrics.tsv, rows of {RESTRICTED}" in told and f"importance.tsv, rows of {OWN}" in told
        assert f"importance.tsv, rows of {RESTRICTED}" not in told
        assert {s: of["kept"] for s, of in manifest["studies"].items()} == {
            "spirals_radius": "whole",
            "mci_conversion": "whole",
            RESTRICTED: "aggregates",
            OWN: "aggregates",
        }
        assert "user's own" in archive["README.md"].decode()

    def test_the_configuration_tells_what_was_run_and_not_where_or_on_which_clusters(self, run, archive):
        _, config = run
        shown = yaml.safe_load(archive["config/config.yaml"])
        data = shown["studies"][OWN]["data"]
        assert data["unseen"] == 3 and data["positive"] is None and data["label"] == "ill"
        assert shown["studies"]["spirals_radius"] == config["studies"]["spirals_radius"]
        assert config["studies"][OWN]["data"]["unseen"][0] == f"{MARK}-u0"  # not changed itself

    def test_named_seen_clusters_are_counted(self, tmp_path):
        config = small_config(tmp_path, ["ad_diagnosis", "live_cell"])
        config["data_mirror"] = str(tmp_path)
        for study in ("ad_diagnosis", "live_cell"):
            config["studies"][study]["data"]["seen"] = ["north", "south"]
        config["studies"]["ad_diagnosis"]["data"]["rejected"] = "bad.txt"
        shown, changes = shown_config(config, ["ad_diagnosis", "live_cell"])
        configuration.check(shown)
        assert shown["studies"]["ad_diagnosis"]["data"]["seen"] == 2
        assert shown["studies"]["live_cell"]["data"]["seen"] == "shared"
        assert {"data_mirror", "studies.ad_diagnosis.data.rejected"} <= {change["key"] for change in changes}

    def test_a_study_stays_withheld_when_its_file_is_gone(self, run, tmp_path):
        folder, config = run
        gone = {**config, "studies": {**config["studies"]}}
        block = config["studies"][RESTRICTED]
        gone["studies"][RESTRICTED] = {**block, "data": {**block["data"], "path": str(tmp_path / "absent.csv")}}
        assert configuration.source(gone, RESTRICTED) == "stand-in"
        assert sources(folder / "results", gone)[RESTRICTED] == "restricted"
        # Nor does a table of an earlier run help, if a single model was run on the real file since.
        parts = tmp_path / "results" / "parts" / RESTRICTED / "armed"
        parts.mkdir(parents=True)
        (parts / "metrics.tsv").write_text(f"study\tsource\n{RESTRICTED}\trestricted\n")
        assert sources(tmp_path / "results", gone)[RESTRICTED] == "restricted"

    def test_tables_without_withheld_rows_are_as_they_were(self, run):
        path = run[0] / "results" / "metrics.tsv"
        assert without_subjects(path, {}) == path
        assert without_subjects(path, {"heart": "own"}) == path.read_bytes()


class TestFile:
    def test_equal_results_give_equal_bytes(self, run, tmp_path):
        folder, config = run
        for name in ("a.zip", "b.zip"):
            make_archive(folder / "results", config, tmp_path / name)
            os.utime(folder / "results" / "metrics.tsv", (0, 0))
        assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()

    def test_order_of_members_does_not_matter(self, tmp_path):
        members = [files.Member(f"results/{k}.tsv", "a table", b"x" * k) for k in range(5)]
        files.write(tmp_path / "a.zip", members, {})
        files.write(tmp_path / "b.zip", members[::-1], {})
        assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()

    def test_the_manifest_lists_every_file(self, archive):
        listed = {file["name"]: file for file in json.loads(archive["manifest.json"])["files"]}
        assert set(listed) == set(archive) - {"manifest.json"}
        for name, file in listed.items():
            assert file["sha256"] == hashlib.sha256(archive[name]).hexdigest() and file["size"] == len(archive[name])
            assert file["what"]

    def test_inputs_records_and_words_are_there(self, archive):
        expected = {"README.md", "config/config.yaml", "config/published_results.csv", "LICENSE"}
        assert expected <= set(archive)
        assert "results/predictions/spirals_radius/armed.parquet" in archive
        assert not [name for name in archive if "weights" in name or "logs" in name]

    @pytest.mark.parametrize("name", ["../a", "/a", "a//b", ".hidden", "a\\b", "a/../b", "C:a", "manifest.json", ""])
    def test_odd_names_are_not_written(self, tmp_path, name):
        with pytest.raises(ArchiveError, match="cannot name a member"):
            files.write(tmp_path / "a.zip", [files.Member(name, "", b"")], {})
        assert not (tmp_path / "a.zip").exists()


def plain(path, members=None, manifest=None):
    """A zip with a manifest that fits, unless another is given."""
    members = {"results/a.tsv": b"study\n"} if members is None else members
    listed = [
        {"name": n, "size": len(c), "sha256": hashlib.sha256(c).hexdigest(), "what": ""} for n, c in members.items()
    ]
    manifest = {"format": 1, "files": listed} if manifest is None else manifest
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
        archive.writestr("manifest.json", json.dumps(manifest))
    return path


class TestRefused:
    """With a sentence, and before anything lies outside the folder."""

    def refused(self, path, folder):
        with pytest.raises(ArchiveError) as caught:
            files.unpack(path, folder / "inside")
        assert not [p for p in folder.rglob("*") if "inside" not in p.parts and p != path]
        return str(caught.value)

    def test_a_good_one_is_unpacked(self, tmp_path):
        manifest = files.unpack(plain(tmp_path / "a.zip"), tmp_path / "inside")
        assert manifest["format"] == 1 and (tmp_path / "inside" / "results" / "a.tsv").read_bytes() == b"study\n"

    @pytest.mark.parametrize(
        "name", ["../outside.txt", "/tmp-outside.txt", "results/../../outside", "a\\..\\b", "results/"]
    )
    def test_names_that_lead_out(self, tmp_path, name):
        assert "lead out" in self.refused(plain(tmp_path / "a.zip", {name: b"x"}), tmp_path)

    def test_links(self, tmp_path):
        path = tmp_path / "a.zip"
        link = zipfile.ZipInfo("results/a.tsv")
        link.external_attr, link.create_system = (stat.S_IFLNK | 0o777) << 16, 3
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(link, "/etc/passwd")
            archive.writestr("manifest.json", json.dumps({"format": 1, "files": []}))
        assert "link" in self.refused(path, tmp_path)

    def test_bombs(self, tmp_path):
        told = self.refused(plain(tmp_path / "a.zip", {"results/a.tsv": b"0" * 10_000_000}), tmp_path)
        assert "times its size" in told

    def test_bombs_inside_arrays(self, tmp_path, monkeypatch):
        inside = io.BytesIO()
        np.savez_compressed(inside, a=np.zeros(1_000_000, np.uint8))
        monkeypatch.setattr(files, "MOST_MEMORY", 500_000)
        told = self.refused(plain(tmp_path / "a.zip", {"results/a.npz": inside.getvalue()}), tmp_path)
        assert "bytes of memory" in told

    def test_a_name_twice(self, tmp_path):
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("results/a.tsv", "1")
            archive.writestr("results/A.tsv", "2")
            archive.writestr("manifest.json", json.dumps({"format": 1, "files": []}))
        assert "twice" in self.refused(path, tmp_path)

    def test_content_that_differs_from_the_manifest(self, tmp_path):
        listed = [{"name": "results/a.tsv", "size": 6, "sha256": "0" * 64, "what": ""}]
        told = self.refused(plain(tmp_path / "a.zip", manifest={"format": 1, "files": listed}), tmp_path)
        assert "was changed" in told
        listed[0]["size"] = 7
        told = self.refused(plain(tmp_path / "a.zip", manifest={"format": 1, "files": listed}), tmp_path)
        assert "6 bytes, and 7" in told

    def test_members_that_are_not_listed_and_listed_ones_that_are_not_there(self, tmp_path):
        listed = [{"name": "results/b.tsv", "size": 6, "sha256": "0" * 64, "what": ""}]
        told = self.refused(plain(tmp_path / "a.zip", manifest={"format": 1, "files": listed}), tmp_path)
        assert "'results/a.tsv' is in it and not in its manifest" in told
        assert "'results/b.tsv' is in its manifest.json and not in it" in told

    @pytest.mark.parametrize("manifest", [[], {"format": 1}, {"format": 1, "files": [{"name": 3}]}, "x"])
    def test_other_manifests(self, tmp_path, manifest):
        assert "does not list files" in self.refused(plain(tmp_path / "a.zip", manifest=manifest), tmp_path)

    def test_a_later_format(self, tmp_path):
        manifest = {"format": 2, "commit": "0123abc", "files": []}
        told = self.refused(plain(tmp_path / "a.zip", {}, manifest), tmp_path)
        assert "format 2" in told and "0123abc" in told

    @pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x05\x06" + bytes(18)])
    def test_other_files(self, tmp_path, content):
        (tmp_path / "a.zip").write_bytes(content)
        told = self.refused(tmp_path / "a.zip", tmp_path)
        assert "no archive that can be read" in told or "no archive of this project" in told

    def test_a_file_that_is_not_there(self, tmp_path):
        assert "make archive" in self.refused(tmp_path / "absent.zip", tmp_path)

    def test_bytes_that_were_flipped(self, tmp_path):
        path = plain(tmp_path / "a.zip", {"results/a.tsv": os.urandom(2000)})
        content = bytearray(path.read_bytes())
        content[500] ^= 255
        path.write_bytes(bytes(content))
        assert "damaged" in self.refused(path, tmp_path)
