"""``python -m isaacmm.matching demo | database``: motion matching by itself."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

import torch

from isaacmm.errors import ConfigError, IsaacmmError, nearest

HELP = """\
python -m isaacmm.matching demo [command=NAME | path=NAME] [key=value ...]
python -m isaacmm.matching database [motion=...]

demo: a character follows commands by motion matching, without physics or training.

  command=   figure_eight (default), straight, circle, slalom, stop_and_go, square, walk_run, side_and_back, random,
             keyboard, a name of cfg/commands, or a command file (.yaml, .json, .csv)
  path=      follow a line on the ground instead: figure_eight, circle, slalom, square, or a file with points
  speed=     m/s along the path (1.3)
  motion=    clips: a name of cfg/motion (full), a clip, a folder, a glob, a motion yaml
  networks=  instead of clips: a run of task=LearnedMM, whose networks do the matching
  seconds=   how long (20)
  out=       folder for motion.bvh, motion.npz, picture.png, strip.png, film.mp4 (demo_NAME)
  film=      False writes no film
  fps=       frames per second (60)     width=, height=  of the film (640, 480)     seed=  of random (0)

database: what the clips hold for matching. motion= as above, rate= rows per second (60).
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or any(word in ("-h", "--help", "help") for word in words):
        print(HELP)
        return 0
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    # many small tensors: more threads only wait for each other
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if words[0] == "demo":
            from isaacmm.matching import demo

            demo.run(words[1:])
        elif words[0] == "database":
            _database(words[1:])
        else:
            raise ConfigError(
                f"'{words[0]}' is no command of isaacmm.matching; {nearest(words[0], ('demo', 'database'))}"
            )
    except (IsaacmmError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    finally:
        torch.set_num_threads(threads)
    return 0


def _database(words: list[str]) -> None:
    from isaacmm.evaluate.session import number, split
    from isaacmm.matching.facts import facts
    from isaacmm.matching.opening import open_database

    own, rest = split(words, ("motion", "rate"))
    for word in rest:
        raise ConfigError(f"database does not know '{word}'; {nearest(word.partition('=')[0], ('motion', 'rate'))}")
    for line in facts(open_database(own.get("motion", "full"), rate=number(own, "rate", 60.0, 1.0, 480.0))):
        print(line)


if __name__ == "__main__":
    sys.exit(main())
