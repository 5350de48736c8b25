"""`python -m isaacmm.gait --out motions`: make the clips that come with the project."""

from __future__ import annotations

import argparse
import fnmatch
import sys
import time
from pathlib import Path

from isaacmm.errors import IsaacmmError
from isaacmm.gait import gaits, manifest
from isaacmm.gait.body import Body
from isaacmm.gait.generate import Spec, generate, specs
from isaacmm.motion.clip import Motion


def parser() -> argparse.ArgumentParser:
    """Command line."""
    p = argparse.ArgumentParser(
        prog="python -m isaacmm.gait",
        description="Make clips of the humanoid that walks, runs, turns, starts, stops, steps sideways and backwards "
        "and stands, from published facts about human gait. Nothing is recorded or downloaded; the same seed gives the "
        "same clips, in under a minute.",
        epilog="examples: python -m isaacmm.gait --only 'run_*' --out clips   |   "
        "python -m isaacmm.gait --seed 7 --out motions/more   |   docs/gait.md says how it works",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    p.add_argument("--out", type=Path, default=Path("motions"), help="folder the .npz clips are written to")
    p.add_argument("--only", nargs="+", metavar="PATTERN", default=["*"],
                   help="make only clips whose name matches one of these shell patterns; no manifest is written "
                        "then")  # fmt: skip
    p.add_argument("--seed", type=int, default=0, help="seed of the differences from step to step")
    p.add_argument("--list", action="store_true", help="print the clips' names and stop")
    p.add_argument(
        "--picture", type=Path, metavar="PNG", help="draw gaits and curves into this file and stop"
    )
    p.add_argument("--sheet", type=Path, metavar="PNG", help="draw the clips in --out into this file and stop")
    p.add_argument("--compare", nargs="*", metavar="CLIP",
                   help="print ranges of motion of walking and running clips in --out, and of CLIP files of your own, "
                        "beside recorded and published ones, and stop")  # fmt: skip
    p.add_argument("--refit", nargs="*", choices=("walk", "run"), metavar="MANNER",
                   help="first fit the gaits of a manner (walk, run; default: both) anew to curves and mechanics "
                        "(minutes); replaces them in gaits.json")  # fmt: skip
    return p


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    options = parser().parse_args(arguments)
    every = specs()
    chosen = [s for s in every if any(fnmatch.fnmatch(s.name, pattern) for pattern in options.only)]
    if not chosen:
        print(f"no clip is called {' or '.join(options.only)}; there are: {', '.join(s.name for s in every)}",
              file=sys.stderr)  # fmt: skip
        return 2
    if options.list:
        line = "{0.name:24} {0.manner:6} {0.speed:.1f} m/s {0.curvature:+.2f} 1/m {0.angle:+4.0f} deg"
        print("\n".join(line.format(s) for s in chosen))
        return 0
    try:
        if options.refit is not None:
            manners = options.refit or ("walk", "run")
            gaits.fit_all(Body.load(), report=lambda line: print(line, flush=True), manners=manners)
        if options.picture:
            from isaacmm.gait.picture import draw

            draw(options.picture)
            print(f"drew {options.picture}")
            return 0
        if options.sheet:
            from isaacmm.gait.sheet import draw_set

            draw_set(options.out, options.sheet)
            print(f"drew {options.sheet}")
            return 0
        if options.compare is not None:
            from isaacmm.gait.compare import table

            print(table(options.out, options.compare))
            return 0
        return _write(options.out, chosen, options.seed, whole=len(chosen) == len(every))
    except (IsaacmmError, OSError) as trouble:
        print(f"{trouble}", file=sys.stderr)
        return 1


def _write(out: Path, chosen: list[Spec], seed: int, whole: bool) -> int:
    start = time.time()

    def report(i: int, spec: Spec, motion: Motion) -> None:
        print(
            f"[{i + 1:2}/{len(chosen)}] {spec.name:24} {motion.duration:5.1f} s  {motion.num_frames:4} frames",
            flush=True,
        )

    motions = generate(out, chosen, seed, report)
    if whole:
        manifest.write(out, list(zip(chosen, motions, strict=True)), Body.load(), seed)
    size = sum((out / f"{s.name}.npz").stat().st_size for s in chosen)
    print(f"{len(chosen)} clips, {sum(m.duration for m in motions):.0f} s of motion, {size / 1e6:.1f} MB in {out} "
          f"({time.time() - start:.0f} s)")  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
