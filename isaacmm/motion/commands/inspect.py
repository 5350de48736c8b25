"""Say what is in clips and what is wrong with them.

inspect clip.npy                      facts and faults
inspect clip.npy --picture clip.png   and a picture: path, feet, speed
inspect clips/ --fix --out fixed/     put right what can be put right
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from isaacmm.character import CharacterModel
from isaacmm.errors import MotionError
from isaacmm.motion import findings, fixes
from isaacmm.motion.commands import batch
from isaacmm.motion.inspect import facts
from isaacmm.motion.io import registry


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    batch.add_clips(parser, out="with --fix: file, or folder for several clips")
    parser.add_argument("--fix", action="store_true", help="repair, and write the result to --out")
    parser.add_argument("--picture", type=Path, help=".png, or a folder for several clips")
    parser.add_argument("--strict", action="store_true", help="a clip with faults left counts as failed")
    batch.add_character(parser)


def run(given: argparse.Namespace) -> int:
    """Inspect."""
    character = CharacterModel.load(given.character)
    paths = batch.files(given)
    places = batch.targets(given, paths) if given.fix else {}
    if given.picture and given.picture.suffix and len(paths) > 1:
        raise MotionError(f"--picture {given.picture} is one file, but {len(paths)} clips were named; give a folder")
    given.nan = "error"

    def work(path: Path) -> batch.Result:
        known = dict(facts(path, character, **batch.options(given)))
        known.pop("file")
        raw = registry.sniff(path).read(path, skeleton=None, **batch.options(given))  # NaN and all
        motion = batch.onto(raw, character)
        found = findings.find(motion, character)
        result: batch.Result = {
            "facts": known,
            "findings": [asdict(f) for f in found],
        }
        left = found
        if given.fix:
            motion, said = fixes.fix(motion, character)
            left = findings.find(motion, character)
            batch.write(motion, places[path], given)
            result |= {"repairs": said, "left": [f.text for f in left], "out": str(places[path])}
        if given.picture:
            from isaacmm.motion.picture import save

            place = given.picture if given.picture.suffix else given.picture / f"{path.stem}.png"
            save(place, motion, character, findings.summary(left))
            result["picture"] = str(place)
        if given.strict and left:
            raise MotionError(f"{path}: {'; '.join(f.text for f in left)}")
        return result

    def say(result: batch.Result) -> str:
        lines = [f"  {'file':<12}{result['file']}"]
        lines += [f"  {label:<12}{text}" for label, text in result["facts"].items()]
        lines += [f"  ! {f['code']:<10}{f['text']}" for f in result["findings"]] or ["  nothing wrong"]
        lines += [f"  + {text}" for text in result.get("repairs", ())]
        lines += [f"  left: {text}" for text in result.get("left", ())]
        lines += [f"  wrote {result[key]}" for key in ("out", "picture") if key in result]
        return "\n".join(lines) + "\n"

    return batch.each(given, paths, work, say)
