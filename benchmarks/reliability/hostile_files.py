"""Attacks by images, volumes, tables and configurations."""

from __future__ import annotations

import gzip
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from armed import config as configuration
from armed import results
from armed.data import adni_standin, brain_volumes, cell_movies, image_list, own_table, png_images
from benchmarks.reliability.hostile_models import Attack
from benchmarks.reliability.hostile_outcomes import CANARY, HARMLESS, RUN_BY_SNAKEMAKE

ROOT = Path(__file__).resolve().parents[2]
DEFAULT = ROOT / "config" / "config.yaml"


def attacks(models: Path, slow: bool) -> dict[str, tuple[str, Attack]]:
    """Name -> what reads it, and the attack."""
    image, volume, table, config = "an image", "a volume", "own table", "configuration"
    of_snakemake = {"expression of YTE for Snakemake": ("snakemake --configfile", _snakemake)} if slow else {}
    return {
        "image of 10^10 pixels in 70 bytes": (image, lambda folder: _image(folder, _png(100_000, 100_000))),
        "image without a size": (image, lambda folder: _image(folder, png_images.SIGNATURE + _chunk(b"IHDR", b""))),
        "image with 100 MB of compressed text": (image, lambda folder: _image(folder, _png(64, 64, _text_bomb()))),
        "link to a device that never ends": (image, lambda folder: _special(folder, "/dev/zero")),
        "pipe in place of an image": (image, lambda folder: _special(folder, "")),
        "path of an image that leads out": ("list of images", lambda folder: _listed(folder, f"../../{CANARY}.png")),
        "path of an image from the root": ("list of images", lambda folder: _listed(folder, "/etc/passwd")),
        "volume of 10^13 voxels in 400 bytes": (volume, lambda folder: _volume(folder, (32767, 32767, 32767))),
        "volume that begins after 3 GB of zeros": (volume, lambda folder: _volume(folder, (2, 2, 2), 3e9)),
        "volume of 2 GB of compressed zeros": (volume, lambda folder: _volume(folder, (1000, 1000, 600))),
        "file name of a terminal's codes": ("tree of movies", _folder_name),
        "truth of 10^400": ("tree of movies", _truth),
        "truth that is no table": ("ADNIMERGE's folder", _truth_of_visits),
        "word of 50 kB, 300,000 times in a kilobyte": ("predictions (parquet)", _parquet),
        "number of 1e400": (table, lambda folder: _table(folder, cell="1e400")),
        "line break in the name of a column": (table, lambda folder: _table(folder, column="a\nb")),
        "line break in the name of a cluster": (table, lambda folder: _table(folder, cluster="A\nstudy\tx")),
        "terminal's codes in the name of a cluster": (table, lambda folder: _table(folder, cluster="\x1b]0;x\x07")),
        "text that turns its direction": (table, lambda folder: _table(folder, cluster="A\u202egnp.B")),
        "two spellings that look the same": (table, lambda folder: _table(folder, cluster="e\u0301", other="\u00e9")),
        "name of 5000 letters": (table, lambda folder: _table(folder, cluster="A" * 5000)),
        "null character": (table, lambda folder: _table(folder, cluster="A\0B")),
        "YAML for 10^11 words": (config, lambda folder: _config(folder, _laughs())),
        "block that holds itself": (config, lambda folder: _config(folder, "run: &a {b: *a}\n")),
        "a hundred thousand brackets": (config, lambda folder: _config(folder, "run: " + "[" * 10**5)),
        "a hundred thousand brackets of JSON": (config, lambda folder: _config(folder, "[" * 10**5, "json")),
        "YAML that calls": (
            config,
            lambda f: _config(f, f"run: !!python/object/apply:os.system ['touch {f}/{CANARY}']"),
        ),
        "expression of YTE": (config, lambda folder: _config(folder, _yte(folder))),
        **of_snakemake,
    }


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png(width: int, height: int, extra: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(4) + bytes(range(60)))
    return png_images.SIGNATURE + _chunk(b"IHDR", header) + extra + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _text_bomb() -> bytes:
    packer = zlib.compressobj()
    packed = b"".join(packer.compress(bytes(10**7)) for _ in range(10)) + packer.flush()
    return _chunk(b"zTXt", b"a\0\0" + packed)


def _image(folder: Path, content: bytes) -> tuple[str, str]:
    (folder / "a.png").write_bytes(content)
    png_images.read_png(folder / "a.png", 64, "image_size")
    return "read", ""


def _special(folder: Path, target: str) -> tuple[str, str]:
    path = folder / "a.png"
    if target:
        path.symlink_to(target)
    else:
        os.mkfifo(path)
    png_images.read_png(path, 64, "image_size")
    return "read", ""


def _listed(folder: Path, path: str) -> tuple[str, str]:
    rows = [f"{path},{i % 2},{'AB'[i // 2]},g{i}" for i in range(4)]
    (folder / "images.csv").write_text("\n".join(["path,label,cluster,group", *rows]))
    image_list.read_list(folder / "images.csv")
    return "read", ""


def _volume(folder: Path, shape: tuple[int, ...], begins: float = 352) -> tuple[str, str]:
    header = nib.Nifti1Header()
    header["dim"][: len(shape) + 1] = (len(shape), *shape)
    header["datatype"], header["bitpix"], header["vox_offset"], header["sform_code"] = 16, 32, begins, 1
    header["magic"] = b"n+1"
    (folder / "a.nii.gz").write_bytes(gzip.compress(header.binaryblock + bytes(4)) + gzip.compress(bytes(10**7)) * 240)
    brain_volumes.load(folder / "a.nii.gz")
    return "read", ""


def _folder_name(folder: Path) -> tuple[str, str]:
    for name in ("high/\x1b[2Jm1/2019_m1/c1", "low/m2/2019_m2/c1"):
        (folder / name).mkdir(parents=True)
        (folder / name / "1.png").write_bytes(b"")
    cell_movies.read_tree(folder)
    return "read", ""


def _truth(folder: Path) -> tuple[str, str]:
    for name in ("high/m1/2019_m1/c1", "low/m2/2019_m2/c1"):
        (folder / name).mkdir(parents=True)
        (folder / name / "1.png").write_bytes(b"")
    (folder / "truth.json").write_text('{"cells": {"a": {"phenotype": ' + "1" * 400 + "}}}")
    cell_movies.read_tree(folder)
    return "read", ""


def _truth_of_visits(folder: Path) -> tuple[str, str]:
    (folder / "truth.json").write_text('{"__class__": "os.system", "features": [[1]]}')
    adni_standin.Truth.load(folder / "truth.json")
    return "read", ""


def _parquet(folder: Path) -> tuple[str, str]:
    words = pa.DictionaryArray.from_arrays(pa.array(np.zeros(300_000, np.int32)), pa.array(["x" * 50_000]))
    columns = {c: words for c in ("cluster", "partition", "variant", "sample_id")}
    numbers = {c: pa.array(np.arange(300_000)) for c in ("seed", "fold")}
    numbers |= {c: pa.array(np.zeros(300_000, np.float32)) for c in ("y_true", "fixed", "mixed")}
    parquet.write_table(pa.table(columns | numbers), folder / "p.parquet", compression="zstd", store_schema=False)
    results.read("predictions", folder / "p.parquet")
    return "read", ""


def _table(
    folder: Path, *, cell: str = "1.5", column: str = "age", cluster: str = "A", other: str = "B"
) -> tuple[str, str]:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({column: rng.normal(size=40).astype(str), "ward": cluster, "ill": np.arange(40) % 2})
    frame.loc[20:, "ward"], frame.loc[3, column] = other, cell
    frame.to_csv(folder / "table.csv", index=False)
    block = {"path": "table.csv", "kind": "binary", "label": "ill", "cluster": "ward"}
    own_table.make(block, "hostile", [0], [folder / "table.csv"])
    return "read", ""


def _laughs() -> str:
    return "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9) if i else 'x'}]\n" for i in range(12))


def _yte(folder: Path) -> str:
    return f"__use_yte__: true\ndata_mirror: ?__import__('os').system(\"touch '{folder / CANARY}'\") and None\n"


def _config(folder: Path, text: str, suffix: str = "yaml") -> tuple[str, str]:
    (folder / f"theirs.{suffix}").write_text(text)
    configuration.check(configuration.load([DEFAULT, folder / f"theirs.{suffix}"]))
    return "read", ""


def _snakemake(folder: Path) -> tuple[str, str]:
    """What no check of ours comes before: Snakemake reads the file itself."""
    (folder / "theirs.yaml").write_text(_yte(folder))
    given = ("-n", "--directory", str(folder / "run"), "--configfile", str(folder / "theirs.yaml"))
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "workflow" / "Snakefile"), *given]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50)
    ran = (folder / CANARY).exists()
    (folder / CANARY).unlink(missing_ok=True)
    told = "an expression in the configuration was run before the workflow was read"
    return (RUN_BY_SNAKEMAKE, told) if ran else (HARMLESS, json.dumps(done.stderr[-200:]))
