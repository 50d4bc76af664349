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
    classes = [registry.load(entry.method) for entry in registry.MODELS.values()]
    bases = [base for cls in classes for base in reversed(cls.__mro__) if base.__module__.split(".")[0] in OURS]
    methods = [f"{cls.__module__}.{cls.__name__}" for cls in dict.fromkeys(bases)]
    return [
        ("The library", "Names of `armed`: wrap a network, train it, divide the data.", public),
        ("Networks", "Networks of `armed.models`, and what they return.", networks),
        ("scikit-learn", "Estimators for tables.", ["armed.sklearn.ArmedClassifier", "armed.sklearn.ArmedRegressor"]),
        (
            "Methods",
            "What is compared, behind one contract: `armed.method.Method`; those that train networks share "
            "`armed.stack_method.StackMethod`.",
            methods,
        ),
    ]


def members(dotted):
    """Public methods of a class that the project documents; of a benchmark method, those that it documents itself."""
    from armed.method import Method

    cls = resolve(dotted)
    owners = [cls] if issubclass(cls, Method) else [c for c in cls.__mro__ if c.__module__.split(".")[0] in OURS]
    defined = {name: value for owner in reversed(owners) for name, value in vars(owner).items() if name[0] != "_"}
    functions = {name: getattr(value, "__func__", value) for name, value in defined.items()}
    return sorted(name for name, function in functions.items() if inspect.isfunction(function) and function.__doc__)


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
