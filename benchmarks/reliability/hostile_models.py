"""Attacks by saved models and archives."""

from __future__ import annotations

import gzip
import io
import json
import logging
import os
import pickle
import re
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from armed.archive import files
from armed.archive.unpacked import Unpacked
from armed.data.clustered import ClusteredData
from armed.data.splits import make_splits
from armed.data.study import StudyData
from baselines import boosted_trees, logistic_regression
from baselines.conventional import Conventional
from baselines.gradient_boosting import GradientBoosting
from baselines.logistic_regression import LogisticRegression
from benchmarks.reliability.hostile_outcomes import CANARY, HARMLESS

Attack = Callable[[Path], tuple[str, str]]
NETWORK = {"network": {"hidden": [2]}, "training": {"epochs": 1, "batch_size": 64}, "engine": "eager"}


class Runs:
    """Runs a command when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.command = f"touch '{folder / CANARY}'"

    def __reduce__(self) -> tuple:
        return os.system, (self.command,)


def data() -> ClusteredData:
    """A small table of clustered data."""
    rng = np.random.default_rng(0)
    X, clusters = rng.normal(size=(160, 2)), np.arange(160) % 4
    return ClusteredData(X, (X[:, 0] + 0.3 * clusters > 0.4).astype(int), clusters)


def prepare(folder: Path) -> Path:
    """Save a model of each kind."""
    for method in (Conventional(**NETWORK), LogisticRegression(), GradientBoosting(trees=3)):
        fit = method.fit(data(), make_splits(data(), [0], 2, "hostile"))
        fit.save(folder / type(method).__name__)
    return folder


def attacks(models: Path, slow: bool) -> dict[str, tuple[str, Attack]]:
    """Name -> what reads it, and the attack."""
    network, arrays, trees = "weights of a saved network", "estimates of a saved model", "saved boosted trees"

    def weights(change: Callable[[Path], object]) -> Attack:
        return lambda folder: _loads(Conventional, models, folder, "weights.pt", change)

    def settings(**changes: object) -> Attack:
        return lambda folder: _with_settings(models, folder, changes)

    def estimates(**made: object) -> Attack:
        return lambda folder: _loads(LogisticRegression, models, folder, "estimates.npz", lambda path: _npz(path, made))

    def tree(pattern: str, new: str) -> Attack:
        return lambda folder: _loads(
            GradientBoosting, models, folder, "trees.json.gz", lambda p: _tree(p, pattern, new)
        )

    huge = io.BytesIO()
    np.lib.format.write_array_header_1_0(huge, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    return {
        "pickle that runs a command": (network, weights(lambda p: torch.save({"w": Runs(p.parents[3])}, p))),
        "bare pickle that runs a command": (
            network,
            weights(lambda p: p.write_bytes(pickle.dumps(Runs(p.parents[3])))),
        ),
        "tensor of 8 TB in a kilobyte": (
            network,
            weights(lambda p: torch.save({"w": torch.ones(1).expand(2 * 10**12)}, p)),
        ),
        "weights of another network": (network, weights(lambda p: torch.save({"w": torch.ones(2, 3)}, p))),
        "compressed zeros in place of weights": (network, weights(_deflated)),
        "settings that ask for 10^12 units": ("method.json", settings(network={"hidden": [10**6, 10**6]})),
        "settings that no method has": ("method.json", settings(loader="os:system")),
        "class of another module": ("method.json", lambda folder: _other_class(models, folder)),
        "a hundred thousand brackets as JSON": (
            "method.json",
            lambda folder: _loads(Conventional, models, folder, "method.json", lambda p: p.write_text("[" * 10**5)),
        ),
        "pickle in a checkpoint": ("checkpoint of a training", _checkpoint),
        "object array that runs a command": (arrays, lambda folder: _object_array(models, folder)),
        "array of 8 TB in a header": (arrays, estimates(coefficients_=huge.getvalue())),
        "compressed zeros in place of estimates": (arrays, lambda folder: _zeros(models, folder)),
        "object array in a study's data": ("results/data/STUDY.npz", _study_data),
        "child of a tree that is not there": (trees, tree(r"left_child=\S+", "left_child=99999999")),
        "feature of a tree that is not there": (trees, tree(r"split_feature=\S+", "split_feature=99999999")),
        "gzip bomb": (trees, lambda folder: _loads(GradientBoosting, models, folder, "trees.json.gz", _gzip_bomb)),
        **_archives(),
    }


def _copy(models: Path, folder: Path, method: type) -> Path:
    return Path(shutil.copytree(models / method.__name__, folder / "model"))


def _loads(method: type, models: Path, folder: Path, name: str, change: Callable[[Path], object]) -> tuple[str, str]:
    saved = _copy(models, folder, method)
    (saved / name).unlink()
    change(saved / name)
    loaded = method.load(saved)
    loaded.predict(data())
    return "read", "the model was loaded, and predicted"


def _with_settings(models: Path, folder: Path, changes: dict) -> tuple[str, str]:
    def change(path: Path) -> None:
        content = json.loads((models / "Conventional" / "method.json").read_text())
        content["settings"] |= changes
        path.write_text(json.dumps(content))

    return _loads(Conventional, models, folder, "method.json", change)


def _other_class(models: Path, folder: Path) -> tuple[str, str]:
    saved = _copy(models, folder, Conventional)
    text = (saved / "method.json").read_text()
    (saved / "method.json").write_text(text.replace("baselines.conventional:Conventional", "os:system"))
    return HARMLESS, f"loaded as {type(Conventional.load(saved)).__name__}: the class is the caller's choice"


def _npz(path: Path, made: dict[str, object]) -> None:
    """Arrays, or the bytes of one."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, value in made.items():
            if isinstance(value, bytes):
                out.writestr(f"{name}.npy", value)
                continue
            with out.open(f"{name}.npy", "w", force_zip64=True) as opened:
                np.lib.format.write_array(opened, value, allow_pickle=True)


def _object_array(models: Path, folder: Path) -> tuple[str, str]:
    made = {"coefficients_": np.array([Runs(folder)], dtype=object)}
    return _loads(LogisticRegression, models, folder, "estimates.npz", lambda path: _npz(path, made))


def _zeros(models: Path, folder: Path) -> tuple[str, str]:
    logistic_regression.MOST_ESTIMATES = 10**7  # in place of 1 GB, so that the attack is quick to make
    made = {"coefficients_": np.zeros(10**7)}
    return _loads(LogisticRegression, models, folder, "estimates.npz", lambda path: _npz(path, made))


def _deflated(path: Path) -> None:
    packed = io.BytesIO()
    torch.save({"w": torch.zeros(10**7)}, packed)
    with zipfile.ZipFile(packed) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name in source.namelist():
            out.writestr(name, source.read(name))


def _tree(path: Path, pattern: str, new: str) -> None:
    """A model with one entry of its first tree changed, and the sizes of the trees made right again."""
    told = path.parent.parents[3] / "models" / "GradientBoosting" / path.name
    with gzip.open(told, "rt") as file:
        texts = json.load(file)
    text = re.sub(pattern, new, texts[0], count=1)
    head, body = text[: text.index("Tree=0\n")], text[text.index("Tree=0\n") :]
    sizes = [str(len(part)) for part in re.split(r"(?=Tree=\d+\n)", body.partition("end of trees")[0])[1:]]
    texts[0] = re.sub(r"tree_sizes=.*", f"tree_sizes={' '.join(sizes)}", head) + body
    with gzip.open(path, "wt") as file:
        json.dump(texts, file)


def _gzip_bomb(path: Path) -> None:
    boosted_trees.LARGEST = 10**8  # in place of 2 GB, so that the attack is quick to make
    path.write_bytes(gzip.compress(bytes(10**7)) * 20)


def _checkpoint(folder: Path) -> tuple[str, str]:
    told: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())
    logging.getLogger("armed.loop").addHandler(handler)
    for number in (0, 1):  # of the stacks that a training goes in
        torch.save({"setup": Runs(folder)}, folder / f"checkpoint.pt.{number}")
    splits = make_splits(data(), [0], 2, "hostile")
    Conventional(**NETWORK).fit(data(), splits, checkpoint=folder / "checkpoint.pt")
    return (HARMLESS, told[0]) if told else ("read", "")


def _study_data(folder: Path) -> tuple[str, str]:
    _npz(folder / "study.npz", {"main/seen/X": np.array([Runs(folder)], dtype=object)})
    StudyData.load(folder / "study.npz")
    return "read", ""


def _archives() -> dict[str, tuple[str, Attack]]:
    """Attacks by the file that `make verify` is given."""

    def attack(**how: object) -> tuple[str, Attack]:
        return "make verify", lambda folder: _unpack(folder, **how)

    link = zipfile.ZipInfo("results/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    laughs = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9) if i else 'x'}]\n" for i in range(12))
    return {
        "name that leads out of the folder": attack(name=f"../{CANARY}"),
        "name that leads out by a backslash": attack(name=f"..\\{CANARY}"),
        "name that begins at the root": attack(name="ROOT"),
        "link to another folder": attack(name=link),
        "member that stands twice": attack(name=files.MANIFEST),
        "member that no manifest lists": attack(name="results/evil.tsv"),
        "compressed zeros of 100 MB": attack(name="results/zeros.tsv", content=bytes(10**8)),
        "encrypted member": attack(name="results/x.tsv", flag=1),
        "list of files a hundred thousand deep": attack(manifest="[" * 10**5),
        "ten lines of YAML for 10^11 words": ("make verify", lambda folder: _configuration(folder, laughs)),
        "YAML that calls a function": (
            "make verify",
            lambda folder: _configuration(
                folder, f"run: !!python/object/apply:os.system ['touch {folder}/{CANARY}']\n"
            ),
        ),
        "expression of YTE in an archive": (
            "make verify",
            lambda folder: _configuration(folder, _yte(folder)),
        ),
    }


def _yte(folder: Path) -> str:
    """A configuration that Snakemake itself would run."""
    return f"__use_yte__: true\ndata_mirror: ?__import__('os').system(\"touch '{folder / CANARY}'\") and None\n"


def _unpack(
    folder: Path, name: str | zipfile.ZipInfo = "x", content: bytes = b"x", flag: int = 0, manifest: str | None = None
) -> tuple[str, str]:
    name = str(folder / CANARY) if name == "ROOT" else name
    listed = {"format": files.FORMAT, "files": []}
    with zipfile.ZipFile(folder / "archive.zip", "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr(files.MANIFEST, manifest or json.dumps(listed), zipfile.ZIP_STORED)
        if manifest is None:
            info = name if isinstance(name, zipfile.ZipInfo) else zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            out.writestr(info, content)
            info.flag_bits |= flag
    files.unpack(folder / "archive.zip", folder / "into")
    return "read", ""


def _configuration(folder: Path, text: str) -> tuple[str, str]:
    (folder / "config").mkdir()
    (folder / "config" / "config.yaml").write_text(text)
    return "read", str(len(Unpacked(folder, {}).config))
