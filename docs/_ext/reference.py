"""The API reference: which names it has, and its pages in docs/api, made of their docstrings."""

import importlib
import inspect
import shutil
from pathlib import Path

OURS = ("armed", "baselines")


def resolve(dotted):
    """The object of a dotted name."""
    module, _, name = dotted.rpartition(".")
    return getattr(importlib.import_module(module), name)


def sections():
    """Title, introduction and dotted names of each section: the public names, and the methods of the registry."""
    import armed
    from armed import models, registry

    public = [f"armed.{name}" for name in armed.__all__ if name in armed._PUBLIC]
    networks = [f"armed.models.{name}" for name in models.__all__ if f"armed.{name}" not in public]
    methods = dict.fromkeys(entry.method.replace(":", ".") for entry in registry.MODELS.values())
    return [
        ("The library", "Names of `armed`: wrap a network, train it, divide the data.", public),
        ("Networks", "Networks of `armed.models`, and what they return.", networks),
        ("scikit-learn", "Estimators for tables.", ["armed.sklearn.ArmedClassifier", "armed.sklearn.ArmedRegressor"]),
        (
            "Methods",
            "What is compared, behind one contract: `armed.method.Method`; those that train networks share "
            "`armed.stack_method.StackMethod`.",
            ["armed.method.Method", "armed.stack_method.StackMethod", *methods],
        ),
    ]


def members(dotted):
    """Public methods of a class that the project defines; of a benchmark method, those beyond the contract's own."""
    from armed.method import Method
    from armed.stack_method import StackMethod

    cls = resolve(dotted)
    shared = [base for base in (StackMethod, Method) if issubclass(cls, base) and cls is not base]
    found = []
    for name in dir(cls):
        owner = next(base for base in cls.__mro__ if name in vars(base))
        function = getattr(vars(owner)[name], "__func__", vars(owner)[name])
        if name.startswith("_") or not inspect.isfunction(function) or owner.__module__.split(".")[0] not in OURS:
            continue
        if shared and dotted.split(".")[0] == "baselines" or any(hasattr(base, name) for base in shared):
            continue
        found.append(name)
    return found


def page(dotted):
    """Text of the page of one name."""
    module, _, name = dotted.rpartition(".")
    lines = [name, "=" * len(name), "", f".. currentmodule:: {module}", ""]
    if inspect.isclass(resolve(dotted)):
        lines += [f".. autoclass:: {name}", ""]
        lines += [line for member in members(dotted) for line in (f"   .. automethod:: {name}.{member}", "")]
    else:
        lines += [f".. autofunction:: {name}"]
    return "\n".join(lines) + "\n"


def index():
    """Text of the page that lists all."""
    lines = ["API reference", "=============", ""]
    for title, about, names in sections():
        lines += [title, "-" * len(title), "", about, "", ".. autosummary::", "   :nosignatures:", ""]
        lines += [f"   {name}" for name in names]
        lines += ["", ".. toctree::", "   :hidden:", "", *(f"   {name}" for name in names), ""]
    return "\n".join(lines)


def write(app):
    folder = Path(app.confdir) / "api"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "index.rst").write_text(index(), encoding="utf-8")
    for _, _, names in sections():
        for dotted in names:
            (folder / f"{dotted}.rst").write_text(page(dotted), encoding="utf-8")


def setup(app):
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
