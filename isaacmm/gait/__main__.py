"""`python -m isaacmm.gait --out motions`: make the clips that come with the project."""

from __future__ import annotations

import argparse
import fnmatch
import sys
import time
from pathlib import Path

from isaacmm.gait.generate import Spec, generate, specs
from isaacmm.motion.clip import Motion


def parser() -> argparse.ArgumentParser:
    """Command line."""
    p = argparse.ArgumentParser(
        prog="python -m isaacmm.gait",
        description="Make walking, running, turning and standing clips of the humanoid from published gait facts. "
                    "Nothing is recorded or downloaded; the same seed gives the same clips.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    p.add_argument("--out", type=Path, default=Path("motions"), help="folder the .npz clips are written to")
    p.add_argument("--only", nargs="*", metavar="PATTERN", default=["*"],
                   help="make only clips whose name matches one of these shell patterns, e.g. 'walk_*'")
    p.add_argument("--seed", type=int, default=0, help="seed of the step-to-step irregularity")
    p.add_argument("--list", action="store_true", help="print the names of the clips and stop")
    return p


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    options = parser().parse_args(arguments)
    chosen = [s for s in specs() if any(fnmatch.fnmatch(s.name, pattern) for pattern in options.only)]
    if not chosen:
        print(f"no clip is called {' or '.join(options.only)}; the clips are: {', '.join(s.name for s in specs())}",
              file=sys.stderr)
        return 2
    if options.list:
        print("\n".join(s.name for s in chosen))
        return 0
    start = time.time()

    def report(i: int, spec: Spec, motion: Motion) -> None:
        print(f"[{i + 1}/{len(chosen)}] {spec.name}: {motion.duration:.1f} s, {motion.num_frames} frames "
              f"({time.time() - start:.0f} s)", flush=True)

    generate(options.out, chosen, options.seed, report)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
