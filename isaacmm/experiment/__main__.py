"""`python -m isaacmm.experiment ablation=matching`: train all cells and seeds, then a table and a figure."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from isaacmm.errors import ConfigError, IsaacmmError
from isaacmm.evaluate.session import number, split, truth, whole
from isaacmm.experiment import design as designs
from isaacmm.experiment import results, runner, settings

#: Keys that a run gets from the experiment, and how to say it there.
OURS = {
    "seed": "; give seeds=, how many",
    "max_iterations": "; give samples=, millions per run",
    **dict.fromkeys(("experiment", "runs_dir"), "; give out="),
    **dict.fromkeys(("test", "resume", "checkpoint", "max_minutes", "export_bvh", "export_onnx", "export_video"), ""),
}

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
    except (IsaacmmError, OSError) as error:  # an OSError says which file cannot be written
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130


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
    for word in more:
        if (key := word.partition("=")[0]) in OURS:
            raise ConfigError(f"{word}: every run gets its own {key} from the experiment{OURS[key]}")
    seeds = whole(own, "seeds", design.seeds, 1, 1000)
    samples = number(own, "samples", design.samples, 0.001, 1e6)
    parallel = whole(own, "jobs", os.cpu_count() or 1, 1)
    report = truth(own, "report", False)
    root = Path(own.get("out", f"runs/ablation_{design.name}"))
    todo = runner.jobs(design, cells, seeds, root)
    iterations = {}
    for cell in cells:  # composing first also finds mistakes before anything is trained
        cfg, iterations[cell.name] = _composed(design, cell, more, samples)
        for job in todo:
            if job.cell is cell and (differs := settings.changed(job.folder, cfg)):
                print(
                    f"warning: {job.folder} was made with other settings ({differs}) and is taken as it is; "
                    "another out= keeps them apart",
                    file=sys.stderr,
                )
    failed = []
    if not report:
        print(f"{design.title}: {len(cells)} cells x {seeds} seeds, {samples:g} M samples each, {parallel} at a time")
        failed = runner.run(design, todo, iterations, parallel, more)
    found = results.collect(todo)
    if not found:
        raise ConfigError(f"{root}: no finished run yet")
    summary = results.summarise(found)
    text = results.table(design, summary)
    print(text)
    head = f"{design.title}, {results.amount(found)} M samples per run."
    (root / "results.md").write_text(f"{head}\n\n{text}\n", encoding="utf-8")
    plain = {cell: {key: vars(interval) for key, interval in values.items()} for cell, values in summary.items()}
    (root / "results.json").write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")
    results.figure(design, todo, summary, root / "results.png")
    print(f"{root / 'results.md'}, results.json and results.png")
    return 1 if failed else 0


def _composed(
    design: designs.Design, cell: designs.Cell, more: Sequence[str], samples: float
) -> tuple[DictConfig, int]:
    """The configuration of a cell's runs, and the iterations that make ``samples`` million."""
    from isaacmm.cli.compose import compose

    try:
        cfg, _ = compose([*design.base, *cell.words, *more])
    except ConfigError as error:
        raise ConfigError(f"{error} (Factors of the experiment: {', '.join(design.factors)})") from None
    config = cfg.train.params.config
    config.max_epochs = max(1, round(samples * 1e6 / (int(cfg.num_envs) * int(config.horizon_length))))
    return cfg, int(config.max_epochs)


if __name__ == "__main__":
    sys.exit(main())
