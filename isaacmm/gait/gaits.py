"""The fitted gaits that come with the package, by name, and their file.

Fitting takes some ten seconds a gait, so the result is kept in `gaits.json`: named coefficients that can be read
and edited.  `python -m isaacmm.gait --refit` makes the file anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from isaacmm.gait.body import Body
from isaacmm.gait.fit import Problem
from isaacmm.gait.laws import plan
from isaacmm.gait.pattern import LAYOUT

FILE = Path(__file__).resolve().parent / "gaits.json"
WALKS = tuple(v / 10 for v in range(6, 19, 2))
RUNS = tuple(v / 10 for v in range(22, 41, 2))
#: Digits kept: far below what moves a joint visibly, and equal on every machine.
DIGITS = 6


def key(manner: str, speed: float) -> str:
    """Name of a gait, e.g. `walk_1.2`."""
    return f"{manner}_{speed:.1f}"


def fit_range(
    body: Body, manner: str, speeds: Sequence[float], report: Callable[[str], None] = print
) -> dict[str, np.ndarray]:
    """Fit the gaits of one manner: the middle speed from scratch, then outwards, each from its neighbour.

    Neighbours as starting points keep the gaits alike, so that speeds in between can be interpolated.
    """
    middle = len(speeds) // 2
    found: dict[int, tuple[Problem, np.ndarray]] = {}
    for i in [middle, *range(middle + 1, len(speeds)), *reversed(range(middle))]:
        problem = Problem(body, plan(speeds[i], body.leg_length, manner == "run"))
        stages: tuple[tuple[float, float], ...] = ((0.0, 0.3), (0.1, 0.3), (0.4, 0.3), (1.0, 0.9))
        start = problem.prior.mean.copy()
        if i != middle:
            before, x = found[i - 1 if i > middle else i + 1]
            start, stages = x + start - before.prior.mean, stages[2:]
        if manner == "run":  # longer steps ask for a lower pelvis; from stretched legs the fit finds no way back
            while problem.motion(start)["reach"].max() > 0.985:
                start[LAYOUT.slices["z"].start] -= 0.004
        x = problem.solve(start=start, stages=stages)
        x = x.round(DIGITS)
        found[i] = problem, x
        report(f"fitted {key(manner, speeds[i])}: cost {np.square(problem.residuals(x)).sum():.0f}")
    return {key(manner, speeds[i]): found[i][1] for i in sorted(found)}


def fit_all(
    body: Body, path: Path = FILE, report: Callable[[str], None] = print, manners: Sequence[str] = ("walk", "run")
) -> None:
    """Fit every gait of the manners and write the file; gaits of other manners stay as they are."""
    fitted: dict[str, np.ndarray] = {}
    for manner, speeds in (("walk", WALKS), ("run", RUNS)):
        if manner in manners:
            fitted |= fit_range(body, manner, speeds, report)
        else:
            fitted |= {name: x for name, x in load(path).items() if name.startswith(manner)}
    save(fitted, path)


def save(fitted: dict[str, np.ndarray], path: Path = FILE) -> None:
    """Write gaits, name -> parameters `[P]`, readably."""
    table = {gait: {n: LAYOUT.get(x, n).tolist() for n in LAYOUT.slices} for gait, x in fitted.items()}
    rows = ",\n".join(
        f' "{gait}": {{\n' + ",\n".join(f'  "{n}": {json.dumps(v)}' for n, v in blocks.items()) + "\n }"
        for gait, blocks in table.items()
    )
    path.write_text("{\n" + rows + "\n}\n")


def load(path: Path = FILE) -> dict[str, np.ndarray]:
    """All kept gaits: name -> parameters `[P]`."""
    table = json.loads(path.read_text())
    return {gait: np.concatenate([blocks[n] for n in LAYOUT.slices]) for gait, blocks in table.items()}


def parameters(manner: str, speed: float, table: dict[str, np.ndarray] | None = None) -> np.ndarray:
    """Parameters `[P]` at any speed within the fitted range, linear between neighbours."""
    table = table or load()
    speeds = WALKS if manner == "walk" else RUNS
    v = float(np.clip(speed, speeds[0], speeds[-1]))
    above = int(np.clip(np.searchsorted(speeds, v), 1, len(speeds) - 1))
    low, high = speeds[above - 1], speeds[above]
    t = (v - low) / (high - low)
    return (1 - t) * table[key(manner, low)] + t * table[key(manner, high)]
