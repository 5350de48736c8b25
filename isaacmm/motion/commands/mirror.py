"""Write clips reflected left to right.

mirror walk_left.npz --out walk_right.npz
"""

from __future__ import annotations

import argparse
from pathlib import Path

from isaacmm.motion.commands import batch


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    batch.add_clips(parser, out="file, or folder for several clips (NAME_mirrored)")


def run(given: argparse.Namespace) -> int:
    """Mirror."""
    paths = batch.files(given)
    places = batch.targets(given, paths, "_mirrored")

    def work(path: Path) -> batch.Result:
        motion = batch.read(path, given).mirror()
        return {"out": str(places[path]), "text": batch.write(motion, places[path], given)}

    return batch.each(given, paths, work, lambda result: str(result["text"]))
