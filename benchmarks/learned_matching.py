"""Learned motion matching at scale: what networks hold of a database of any number of rows, beside its search.

    python benchmarks/learned_matching.py [--rows 400000] [--steps 6000] [--seconds 60] [--out runs/lmm_400k]
                                          [--recorded] [--swings] [--set latent=48 networks.stepper=[512,512]]

The database, at 30 rows per second: the clips in motions/, then other people's ways to do the same (``people.py``)
until there are enough rows, no two alike. ``--recorded`` begins with recorded clips of the same character as well,
those in $ISAACMM_MOTIONS or ../shared/motions: they hop, dance, turn somersaults and cartwheels. ``--swings`` takes the
database of ``search.py`` instead, which has them, too; there every joint swings by itself and feet hardly stand.
The fit is that of task=LearnedMM with as many steps as are asked for, by one thread; it ends with the figures of its
last evaluation.
Then the same eight scripts are followed by search and by networks, as ``python -m isaacmm.learned_matching evaluate``
does, and memory and times are told. Processor time is printed, since a busy machine's clock says little.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from omegaconf import OmegaConf
from people import people
from search import database, variant

from isaacmm.character import CharacterModel
from isaacmm.learn.fit import FitConfig, fit
from isaacmm.learned_matching.comparison import compare
from isaacmm.learned_matching.controller import load
from isaacmm.learned_matching.evaluation import SCRIPTS
from isaacmm.learned_matching.rows import Rows
from isaacmm.learned_matching.task import LearnedMMTask

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Fit, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "learned_matching_at_scale")
    parser.add_argument("--recorded", action="store_true", help="recorded clips, too")
    parser.add_argument("--swings", action="store_true", help="the database of search.py")
    parser.add_argument("--resume", action="store_true", help="measure (or go on with) what is in --out")
    parser.add_argument("--set", nargs="*", default=[], help="settings of cfg/task/LearnedMM.yaml")
    options = parser.parse_args()
    torch.set_num_threads(1)

    config = OmegaConf.load(ROOT / "cfg" / "task" / "LearnedMM.yaml")
    config = OmegaConf.merge(config, OmegaConf.from_dotlist(options.set))
    train = OmegaConf.load(ROOT / "cfg" / "train" / "LearnedMMFit.yaml")
    begun = time.process_time()
    another = variant if options.swings else people(CharacterModel.load("humanoid"))
    data = database(options.rows, float(config["rate"]), another, options.recorded or options.swings)
    rows = Rows(data)
    spent = time.process_time() - begun
    print(f"{len(data):,} rows of {data.library.num_clips} clips; {spent:.0f} s of processor time", flush=True)
    begun = time.process_time()
    task = LearnedMMTask(config, rows)  # type: ignore[arg-type]
    settings = FitConfig.from_mapping({str(k): v for k, v in train.items()}, max_steps=options.steps)
    fit(task, settings, options.out, resume=options.resume)
    print(f"fit: {time.process_time() - begun:.0f} s of processor time, of which closed forms are the beginning")
    model, meta = load(options.out)
    told = compare(model, meta, lambda rate: data, SCRIPTS, options.seconds, float(config["rate"]))
    (options.out / "comparison.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
