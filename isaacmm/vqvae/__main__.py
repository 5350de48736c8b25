"""``python -m isaacmm.vqvae COMMAND``: uses of a tokenizer that ``launch.py task=MotionVQVAE`` has trained."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence

import torch

from isaacmm.errors import IsaacmmError
from isaacmm.vqvae.commands import COMMANDS


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (2: something could not be done)."""
    given = _parser().parse_args(words)
    logging.basicConfig(level=logging.ERROR if given.json else logging.WARNING, format="%(message)s")
    if given.threads:
        torch.set_num_threads(given.threads)
    try:
        return int(given.run(given) or 0)
    except (IsaacmmError, OSError) as error:
        if given.json:
            print(json.dumps({"failed": 1, "error": str(error)}))
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m isaacmm.vqvae",
        description="Motion as tokens. RUN is a run folder of task=MotionVQVAE, its name, a checkpoint, or `latest`; "
        "CLIPS are files, folders or globs.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        text = (command.__doc__ or "").strip()
        sub = commands.add_parser(
            command.__name__.rsplit(".", 1)[-1], help=text.splitlines()[0].rstrip("."), description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        sub.add_argument("tokenizer", metavar="RUN", help="run folder, its name, a checkpoint, or latest")
        command.add(sub)
        sub.add_argument("--runs-dir", default="runs", help="where runs are found by name (%(default)s)")
        sub.add_argument("--threads", type=int, default=0, help="CPU threads; 0: all cores")
        sub.add_argument("--json", action="store_true", help="print results as JSON, nothing else")
        sub.set_defaults(run=command.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
