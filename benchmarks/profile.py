"""Where the time of a stack's training goes: `python -m benchmarks.profile --help`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from unittest import mock

import numpy as np
import torch

from armed import compiled
from benchmarks import workload
from benchmarks.cases import METHODS, STACKS, Case
from benchmarks.measure import follow
from benchmarks.timeline import Timeline

PARTS = {
    "once": "once in a fit: building the models, checks, collecting the weights",
    "permutations": "drawing each replica's permutation into batches",
    "noise": "drawing posterior noise; setting up generators",
    "tables": "putting the draws of all replicas into tables, and parameters into the step's layout",
    "gathering": "gathering the batches, and Python between steps",
    "steps": "the steps: forward and backward passes, optimisers",
    "after": "taking the results back, history, checks",
}


def training_parts(case: Case) -> dict[str, float]:
    """CPU seconds of each of `PARTS` in the training of a stack that has been warmed up, as one of its epochs tells.

    Parameters
    ----------
    case : Case
        With the engine eager or compiled.
    """
    data, splits = workload.draw(case.size)
    timeline = Timeline()
    compile_step = compiled._compile

    def compile_timed(*args):
        return timeline.timed("step", compile_step(*args))

    with mock.patch.object(compiled, "_compile", compile_timed):
        for epochs in (1, 2):
            method = workload.method(case.method, case.size, case.engine, epochs)
            fit = follow(method)
            program = method.program()
            if case.engine == "eager":
                program.step = timeline.timed("step", program.step)
            timeline.timed("fit", method.fit)(data, splits)
    timeline.calls["batches"] = fit.calls["batches"]
    starts, end = [c.begin[0] for c in fit.calls["start_epoch"]], fit.calls["finish"][-1].begin[0]
    whole = timeline.calls["fit"][-1]
    once = float(whole.end[0] - whole.begin[0] - (end - starts[0]))
    return {"once": once} | {name: case.size.epochs * s for name, s in epoch_parts(timeline, starts[-1], end).items()}


def epoch_parts(timeline: Timeline, begin: float, end: float) -> dict[str, float]:
    """Cut the time from `begin` to `end` at the calls within it; all in CPU seconds."""
    times = {name: np.array([[c.begin[0], c.end[0]] for c in calls]) for name, calls in timeline.calls.items()}
    batches, steps = (times[name][times[name][:, 0] >= begin] for name in ("batches", "step"))
    drawn, stepped = batches[-1, 1], steps[-1, 1]
    permuting, stepping = (float(np.diff(t).sum()) for t in (batches, steps))
    return {
        "permutations": permuting,
        "noise": drawn - begin - permuting,
        "tables": steps[0, 0] - drawn,
        "gathering": stepped - steps[0, 0] - stepping,
        "steps": stepping,
        "after": end - stepped,
    }


def table(case: Case, parts: dict[str, float]) -> str:
    """The parts as text: milliseconds per model, and their share."""
    total = sum(parts.values())
    scale = 1e3 / case.size.replicas
    lines = [f"{case.name}: CPU ms per model, {case.size.epochs} epochs"]
    lines += [f"{scale * s:9.2f} {s / total:5.0%}  {PARTS[name]}" for name, s in parts.items()]
    return "\n".join([*lines, f"{scale * total:9.2f}  100%  all"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table of each method asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--engine", choices=STACKS, default="compiled")
    parser.add_argument("--replicas", type=int, default=250, help="models in the stack, at most 256: one compiled step")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for method in given.methods:
        case = Case(method, given.engine, level=given.replicas)
        sys.stdout.write(table(case, training_parts(case)) + "\n\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
