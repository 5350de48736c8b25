"""``python -m isaacmm.learned_matching evaluate | film | export``: networks beside the search they replace."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from isaacmm.errors import ConfigError, IsaacmmError, nearest

HELP = """\
python -m isaacmm.learned_matching evaluate RUN [motion=full] [seconds=60] [fps=30] [scripts=circle,slalom]
                                                [precision=float32 | float16 | int8] [out=figures.json]
python -m isaacmm.learned_matching film     RUN [motion=full] [command=walk_run] [seconds=20] [out=side_by_side.mp4]
python -m isaacmm.learned_matching export   RUN [precision=float32 | float16 | int8] [out=folder]

RUN: a run of task=LearnedMM (its folder or name, a checkpoint, or latest); motion= the clips it was made from.

evaluate: the same scripts followed by the search and by the networks: velocity, facing, place, sliding feet without
          foot locking, transitions; what the projector picks beside what the search picks; memory; time per frame.
          precision= plays them in onnxruntime, as files of that precision hold them.
film:     both side by side, with foot locking.
export:   decompressor.onnx, stepper.onnx, projector.onnx and learned_mm.json, checked in onnxruntime.
"""
COMMANDS = {
    "evaluate": ("motion", "seconds", "fps", "scripts", "precision", "out"),
    "film": ("motion", "command", "seconds", "fps", "out", "width", "height"),
    "export": ("precision", "out"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or any(word in ("-h", "--help", "help") for word in words):
        print(HELP)
        return 0
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _run(words)
    except (IsaacmmError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    finally:
        torch.set_num_threads(threads)
    return 0


def _run(words: list[str]) -> None:
    from isaacmm.evaluate.session import split

    if words[0] not in COMMANDS:
        raise ConfigError(f"'{words[0]}' is no command of isaacmm.learned_matching; {nearest(words[0], COMMANDS)}")
    own, rest = split(words[1:], COMMANDS[words[0]])
    if not rest or "=" in rest[0]:
        raise ConfigError(f"{words[0]}: name a run of task=LearnedMM")
    for word in rest[1:]:
        known = COMMANDS[words[0]]
        raise ConfigError(f"{words[0]} does not know '{word}'; {nearest(word.partition('=')[0], known)}")
    {"evaluate": _evaluate, "film": _film, "export": _export}[words[0]](rest[0], own)


def _export(run: str, own: dict[str, str]) -> None:
    from isaacmm.learned_matching.controller import load, locate
    from isaacmm.learned_matching.export import write
    from isaacmm.learned_matching.graphs import known_precision
    from isaacmm.learned_matching.task import with_latents

    model, meta = load(run)
    precision = known_precision(own.get("precision", "float32"))
    place = locate(run).parent
    place = place.parent if place.name == "nn" else place
    name = "onnx" if precision == "float32" else f"onnx_{precision}"
    folder = Path(own["out"]) if "out" in own else place / name
    files, differences = write(model, with_latents(meta, model), folder, precision)
    for path in files:
        gap = differences.get(path.stem)
        note = "" if gap is None else f", differs from torch by {gap:.1e} of what it varies"
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB{note}")


def _evaluate(run: str, own: dict[str, str]) -> None:
    from isaacmm.evaluate.session import number
    from isaacmm.learned_matching.comparison import compare
    from isaacmm.learned_matching.controller import load
    from isaacmm.learned_matching.evaluation import SCRIPTS
    from isaacmm.learned_matching.graphs import known_precision
    from isaacmm.learned_matching.stored import Stored
    from isaacmm.matching.opening import open_database

    seconds, fps = number(own, "seconds", 60.0, low=2.0), number(own, "fps", 30.0, low=10.0)
    scripts = own["scripts"].split(",") if "scripts" in own else list(SCRIPTS)
    model, meta = load(run)
    if "precision" in own:
        model = Stored(model, float(meta["rate"]), known_precision(own["precision"])).eval()
    out = Path(own["out"]) if "out" in own else None
    if out is not None:  # before minutes of work, not behind them
        out.parent.mkdir(parents=True, exist_ok=True)
    motion, character = own.get("motion", "full"), meta["character"]
    told = compare(model, meta, lambda rate: open_database(motion, character, rate), scripts, seconds, fps)
    if out is not None:
        out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def _film(run: str, own: dict[str, str]) -> None:
    from isaacmm.evaluate.session import number, whole
    from isaacmm.learned_matching.controller import LearnedController
    from isaacmm.learned_matching.film import film
    from isaacmm.matching.controller import Controller
    from isaacmm.matching.opening import open_database

    seconds, fps = number(own, "seconds", 20.0, low=1.0), number(own, "fps", 30.0, low=10.0)
    size = (whole(own, "width", 960, low=128), whole(own, "height", 400, low=96))
    command = own.get("command", "walk_run")
    out = Path(own.get("out", f"side_by_side_{Path(command).stem}.mp4"))
    if out.suffix.lower() != ".mp4":
        raise ConfigError(f"out={out}: films are .mp4 files")
    learned = LearnedController.from_run(run, fps=fps)
    searched = Controller(open_database(own.get("motion", "full"), learned.meta["character"], fps))
    film({"search": searched, "networks": learned}, command, seconds, out, size)
    print(f"wrote {out}")


if __name__ == "__main__":
    sys.exit(main())
