"""Put clips of other skeletons onto the character.

retarget walk.bvh --out walk.npz                  joints are recognised by their names
retarget library/ --out mine/ --picture mine.png  many; source and result side by side
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from isaacmm.character import CharacterModel
from isaacmm.motion import repair
from isaacmm.motion.clip import Motion
from isaacmm.motion.commands import batch
from isaacmm.motion.retarget import Retargeted, RoleMap, detect, reading, role_maps
from isaacmm.motion.retarget import retarget as put_onto
from isaacmm.motion.retarget.roles import load_map


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    batch.add_clips(parser, out="file, or folder for several clips")
    parser.add_argument("--map", help="name in cfg/retarget, or a .yaml of your own (default: found by joint names)")
    parser.add_argument("--fps", type=float, help="frame rate of the result (default: the clip's)")
    parser.add_argument("--mirror", action="store_true", help="also write the mirrored clip")
    parser.add_argument("--no-feet", action="store_true", help="copy directions only; feet may slide")
    parser.add_argument("--picture", type=Path, help="up to six clips beside their sources (.png), or four (.mp4)")
    batch.add_character(parser)


def run(given: argparse.Namespace) -> int:
    """Retarget."""
    character = CharacterModel.load(given.character)
    chosen = load_map(given.map) if given.map else None
    paths = batch.files(given)
    places = batch.targets(given, paths) if given.out or not given.picture else {}
    pairs: list[tuple[Motion, Retargeted]] = []

    def work(path: Path) -> batch.Result:
        source, found = read_source(path, given, chosen)
        done = put_onto(source, character, found, feet=not given.no_feet)
        motion = done.motion.resample(given.fps) if given.fps else done.motion
        written = []
        if path in places:
            batch.write(motion, places[path], given)
            written.append(str(places[path]))
            if given.mirror:
                other = places[path].with_stem(f"{places[path].stem}_mirrored")
                batch.write(motion.mirror(), other, given)
                written.append(str(other))
        if given.picture and len(pairs) < 6:
            pairs.append((source, done))
        return {
            "out": written, "frames": motion.num_frames, "fps": motion.fps, "residuals": done.residuals.as_dict(),
            "lines": done.residuals.lines(),
        }  # fmt: skip

    def say(result: batch.Result) -> str:
        name = ", ".join(result["out"]) or result["file"]
        head = f"{'wrote ' if result['out'] else ''}{name}: {result['frames']} frames at {result['fps']:g} fps"
        return "\n".join([head, *(f"  {line}" for line in result["lines"])])

    code = batch.each(given, paths, work, say)
    if given.picture and pairs:
        from isaacmm.motion.retarget.picture import save

        given.picture.parent.mkdir(parents=True, exist_ok=True)
        save(given.picture, character, pairs)
        if not given.json:
            print(f"wrote {given.picture}")
    return code


def read_source(path: Path, given: argparse.Namespace, chosen: RoleMap | None) -> tuple[Motion, RoleMap | None]:
    """A clip on its own skeleton, repeated frames dropped, and its map (None: no map fits by names)."""
    warnings = logging.getLogger("isaacmm.motion.io.bvh")
    before, warnings.disabled = warnings.disabled, not batch.options(given)
    try:
        motion = batch.read(path, given)
    finally:
        warnings.disabled = before
    names = motion.skeleton.names
    found = chosen or (detect(names) if any(m.fits(names) for m in role_maps()) else None)
    if found is not None and found.fits(names) and not batch.options(given):
        more = reading.options_for(path, found)
        motion = batch.read(path, given, **more) if more else motion
    return repair.repair(motion)[0], found
