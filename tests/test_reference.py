"""The API reference: every name it lists says what it is, what it takes and what it returns."""

from __future__ import annotations

import importlib.util
import inspect
import re
from pathlib import Path

import pytest
from numpydoc.validate import validate

import armed
from armed import registry

ROOT = Path(__file__).resolve().parent.parent
CHECKS = {
    "GL08": "no docstring",
    "SS01": "no summary",
    "SS02": "summary without a capital letter",
    "SS06": "summary of more than one line",
    "PR01": "parameters without a word",
    "PR02": "unknown parameters",
    "PR03": "parameters in another order",
    "PR10": "no space before the colon of a parameter",
    "RT01": "no returns",
    "YD01": "no yields",
}
ELSEWHERE = {"PR01", "RT01"}
"""What a docstring may leave to another name of the reference, by ``as for `name```."""


def load():
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "_ext" / "reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference = load()
NAMES = [name for _, _, names in reference.sections() for name in names]
MEMBERS = [f"{name}.{m}" for name in NAMES if inspect.isclass(reference.resolve(name)) for m in reference.members(name)]


def referred(dotted: str, text: str) -> str | None:
    """The name of the reference to which a docstring leaves its parameters."""
    found = re.search(r"\b[Aa]s for `([\w.]+)`", text)
    if not found:
        return None
    candidates = (found[1], f"{dotted.rpartition('.')[0]}.{found[1]}", f"armed.sklearn.{found[1]}")
    return next((name for name in candidates if name in {*NAMES, *MEMBERS}), None)


@pytest.mark.parametrize("dotted", [*NAMES, *MEMBERS])
def test_docstring(dotted):
    result = validate(dotted)
    wrong = {code: message for code, message in result["errors"] if code in CHECKS}
    if set(wrong) & ELSEWHERE and referred(dotted, result["docstring"]):
        wrong = {code: message for code, message in wrong.items() if code not in ELSEWHERE}
    assert not wrong, f"{dotted} ({result['file']}, line {result['file_line']})"


def test_what_docstrings_leave_to_others_is_there():
    told = {dotted: validate(dotted) for dotted in [*NAMES, *MEMBERS]}
    leaving = {d: referred(d, r["docstring"]) for d, r in told.items() if {c for c, _ in r["errors"]} & ELSEWHERE}
    assert len(leaving) < len(told) / 3  # the exception, not the rule
    ends = {name for name in leaving.values() if name not in leaving}
    assert "armed.method.Method.predict" in ends and "armed.sklearn.ArmedClassifier.decision_function" in ends


def test_every_public_name_is_listed():
    listed = {id(reference.resolve(name)) for name in NAMES}
    public = {name: getattr(armed, name) for name in armed.__all__}
    missing = [name for name, value in public.items() if callable(value) and id(value) not in listed]
    missing += [m.id for m in registry.MODELS.values() if id(registry.load(m.method)) not in listed]
    missing += [n for n in ("ArmedClassifier", "ArmedRegressor") if id(getattr(armed.sklearn, n)) not in listed]
    assert not missing


def test_the_checks_can_fail():
    """On a function that is not in the reference, and says nothing of what it takes and returns."""
    assert {"PR01", "RT01"} <= {code for code, _ in validate("armed.registry.models_for")["errors"]}
