"""Trees in LightGBM's text format (GPBoost's is the same), checked before the library reads them.

The libraries believe what such a text says: a child or feature that is not there makes them read beyond their arrays, and
end the process. Saved models may come from anyone.
"""

from __future__ import annotations

from collections.abc import Iterator

from armed.errors import DamagedError

_NODES = ("split_feature", "threshold", "decision_type", "left_child", "right_child")
_MOST = 100_000  # leaves of a tree, and classes: far more than any setting gives


def check(text: str) -> None:
    """Raise `DamagedError` unless a text describes whole trees that refer to nothing outside of them."""
    try:
        wrong = next(_problems(text), None)
    except (KeyError, ValueError, IndexError) as error:
        wrong = f"{type(error).__name__}: {str(error)[:80]}"
    if wrong:
        raise DamagedError(f"The text of a boosted model is no trees of LightGBM or GPBoost ({wrong}); it is not read.")


def _problems(text: str) -> Iterator[str]:
    if not text.isascii() or "\r" in text or "\0" in text:
        yield "characters that numbers do not have"
    start, end = text.index("Tree=0\n"), text.index("end of trees")
    head, body = _entries(text[:start]), text[start:end]
    classes, features = int(head["num_class"]), int(head["max_feature_idx"])
    if not 1 <= classes == int(head["num_tree_per_iteration"]) <= _MOST:
        yield "another number of trees than of classes"
    if len(head["feature_names"].split()) != features + 1:
        yield "another number of features than of their names"
    sizes, place = _whole(head["tree_sizes"]), 0
    for i, size in enumerate(sizes):
        tree = body[place : place + size]
        if size <= 0 or not tree.startswith(f"Tree={i}\n") or not tree.endswith("\n") or tree.count("Tree=") != 1:
            yield f"tree {i} is not where it should be"
        yield from (f"tree {i}: {told}" for told in _problems_of_tree(_entries(tree), features))
        place += size
    if place != len(body):
        yield "text beside the trees"


def _problems_of_tree(tree: dict[str, str], last_feature: int) -> Iterator[str]:
    leaves, categorical = int(tree["num_leaves"]), int(tree["num_cat"])
    if not 1 <= leaves <= _MOST or int(tree.get("is_linear", "0")):
        yield f"{leaves} leaves, or linear ones"
    if len(tree["leaf_value"].split()) != leaves or any(len(tree[name].split()) != leaves - 1 for name in _NODES):
        yield "another number of entries than of leaves"
    if not all(0 <= feature <= last_feature for feature in _whole(tree["split_feature"])):
        yield "a feature that is not there"
    for side in ("left_child", "right_child"):
        if not all(-leaves <= child < 0 or i < child < leaves - 1 for i, child in enumerate(_whole(tree[side]))):
            yield "a child that is not there"  # children come after their parents, so that there is no circle
    bounds = _whole(tree["cat_boundaries"]) if categorical else [0]
    if categorical and len(_whole(tree["cat_threshold"])) != bounds[-1]:
        yield "another number of categories than told"
    if len(bounds) != categorical + 1 or bounds[0] != 0 or bounds != sorted(bounds):
        yield "categories out of order"
    pairs = zip(_whole(tree["decision_type"]), tree["threshold"].split(), strict=True)
    if not all(not kind & 1 or 0 <= float(threshold) < categorical for kind, threshold in pairs):
        yield "a set of categories that is not there"


def _entries(lines: str) -> dict[str, str]:
    """What stands behind each ``name=``; a name that stands twice is no such text."""
    pairs = [line.partition("=")[::2] for line in lines.split("\n") if "=" in line]
    if len(dict(pairs)) != len(pairs):
        raise ValueError("an entry stands twice")
    return dict(pairs)


def _whole(numbers: str) -> list[int]:
    return [int(number) for number in numbers.split()]
