"""``python -m isaacmm.motion COMMAND``: tools for clips; one file per command in :mod:`isaacmm.motion.commands`."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence

from isaacmm.errors import IsaacmmError
from isaacmm.motion.commands import COMMANDS


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (2: something could not be done)."""
    parser = _parser()
    given, late = parser.parse_known_args(words)
    # argparse takes clips only up to the first option, but people write `upsample a.bvh --trust b.bvh rate=8` as well
    if late and ("clips" not in given or any(word.startswith("-") for word in late)):
        parser.error(f"unrecognized arguments: {' '.join(late)}")
    if late:
        given.clips += late
    logging.basicConfig(level=logging.ERROR if given.json else logging.WARNING, format="%(message)s")
    try:
        return int(given.run(given) or 0)
    except (IsaacmmError, OSError) as error:
        if given.json:
            print(json.dumps({"clips": [], "failed": 1, "error": str(error)}))
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m isaacmm.motion",
        description="Tools for motion clips. CLIPS are files, folders or globs; several at once are fine.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        text = (command.__doc__ or "").strip()
        sub = commands.add_parser(
            command.__name__.rsplit(".", 1)[-1], help=text.splitlines()[0].rstrip("."), description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        command.add(sub)
        sub.add_argument("--json", action="store_true", help="print results as JSON, nothing else")
        sub.set_defaults(run=command.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
