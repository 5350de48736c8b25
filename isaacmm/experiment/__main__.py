"""`python -m isaacmm.experiment ablation=matching`: train all cells and seeds, then a table and a figure."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from isaacmm.errors import ConfigError, IsaacmmError
from isaacmm.evaluate.session import number, split, whole
from isaacmm.experiment import design as designs
from isaacmm.experiment import results, runner

HELP = """python -m isaacmm.experiment ablation=NAME [factor=level,level ...] [key=value ...]

Trains every combination of the experiment's factors with several seeds, side by side, and compares the results:
interquartile means with bootstrap intervals, a table (results.md, results.json) and a figure (results.png) in the
folder. Interrupted or extended (more seeds), the same command goes on; finished runs are not repeated.

  ablation=NAME     {names}, or a yaml file of your own
  FACTOR=LEVELS     only these levels of a factor, commas between
  preset=NAME       levels picked by the experiment's file, such as corners
  seeds=N           runs per cell (default: the file's)
  samples=M         millions of samples per run (default: the file's)
  jobs=N            trainings side by side (default: one per core)
  out=FOLDER        default: runs/ablation_NAME
  report=True       no training: only table and figure of what is there

Any other key=value goes to every training, e.g. motion=walk or num_envs=256.
"""


def main(words: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    words = list(sys.argv[1:] if words is None else words)
    if not words or {"-h", "--help", "help"} & set(words):
        print(HELP.format(names=", ".join(designs.names())))
        return 0
    try:
        return _run(words)
    except IsaacmmError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _run(words: Sequence[str]) -> int:
    own, rest = split(words, ("ablation", "preset", "seeds", "samples", "jobs", "out", "report"))
    if "ablation" not in own:
        raise ConfigError(f"say which: ablation= one of {', '.join(designs.names())}, or a yaml file")
    design = designs.load(own["ablation"])
    levels, more = split(rest, tuple(design.factors))
    narrowed: dict[str, Sequence[str]] = {factor: text.split(",") for factor, text in levels.items()}
    if "preset" in own:
        if own["preset"] not in design.presets:
            raise ConfigError(f"preset={own['preset']}: the experiment has {', '.join(design.presets) or 'none'}")
        narrowed = {**design.presets[own["preset"]], **narrowed}
    cells = design.cells(narrowed)
    seeds = whole(own, "seeds", design.seeds, 1)
    samples = number(own, "samples", design.samples, 0.001)
    parallel = whole(own, "jobs", os.cpu_count() or 1, 1)
    root = Path(own.get("out", f"runs/ablation_{design.name}"))
    todo = runner.jobs(design, cells, seeds, root)
    iterations = _iterations([*design.base, *cells[0].words, *more], samples)
    failed = []
    if own.get("report", "False").lower() != "true":
        print(f"{design.title}: {len(cells)} cells x {seeds} seeds, {samples:g} M samples each, {parallel} at a time")
        failed = runner.run(design, todo, iterations, parallel, more)
    found = results.collect(todo)
    if not found:
        raise ConfigError(f"{root}: no finished run yet")
    summary = results.summarise(found)
    text = results.table(design, summary)
    print(text)
    (root / "results.md").write_text(f"{design.title}, {samples:g} M samples per run.\n\n{text}\n", encoding="utf-8")
    plain = {cell: {key: vars(interval) for key, interval in values.items()} for cell, values in summary.items()}
    (root / "results.json").write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")
    results.figure(design, todo, summary, root / "results.png")
    print(f"{root / 'results.md'}, results.json and results.png")
    return 1 if failed else 0


def _iterations(words: Sequence[str], samples: float) -> int:
    """Iterations that make ``samples`` million; composing first also finds mistakes before anything is trained."""
    from isaacmm.cli.compose import compose

    cfg, _ = compose(words)
    return max(1, round(samples * 1e6 / (int(cfg.num_envs) * int(cfg.train.params.config.horizon_length))))


if __name__ == "__main__":
    sys.exit(main())
