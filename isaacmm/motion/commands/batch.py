"""What the commands share: many clips, a progress bar, failures that do not stop the others, JSON."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from isaacmm.character import CharacterModel
from isaacmm.errors import IsaacmmError, MotionError, nearest
from isaacmm.motion.clip import Motion
from isaacmm.motion.io import registry
from isaacmm.motion.sources import expand

Result = dict[str, Any]


def add_clips(parser: argparse.ArgumentParser, *, out: str | None = None) -> None:
    """Arguments for clips in and, with ``out`` as its help, files out."""
    parser.add_argument("clips", nargs="+", metavar="CLIPS", help="files, folders or globs")
    if out:
        parser.add_argument("--out", type=Path, help=out)
        named = ", ".join(name for name, form in registry.FORMATS.items() if form.write)
        parser.add_argument("--to", metavar="FORMAT",
                            help=f"suffix of files written into a folder (npz), or a format: {named}")  # fmt: skip
    parser.add_argument("--read", action="append", default=[], metavar="OPTION=VALUE",
                        help="option of the reader, e.g. scale=0.05644 or up=z for BVH")  # fmt: skip
    parser.add_argument("--nan", choices=("error", "interpolate"), default="error",
                        help="frames with NaN (%(default)s)")  # fmt: skip


def add_character(parser: argparse.ArgumentParser) -> None:
    """``--character``."""
    parser.add_argument("--character", default="humanoid", help="file in cfg/character (%(default)s)")


def files(given: argparse.Namespace) -> list[Path]:
    """All clips that were named, each once; names of nothing are kept, so that they are told as failures."""
    found: dict[Path, None] = {}
    for name in given.clips:
        try:
            found.update(dict.fromkeys(expand(str(name))))
        except MotionError:
            found[Path(name)] = None
    return list(found)


def options(given: argparse.Namespace) -> dict[str, Any]:
    """``--read`` options with their values as numbers where they are numbers."""
    chosen: dict[str, Any] = {}
    for pair in given.read:
        key, equals, value = pair.partition("=")
        if not equals:
            raise MotionError(f"--read {pair}: write OPTION=VALUE, for example --read scale=0.05644")
        try:
            chosen[key] = float(value)
        except ValueError:
            chosen[key] = value
    return chosen


def read(path: Path, given: argparse.Namespace, **more: Any) -> Motion:
    """A clip with the options of the command line."""
    return registry.read(path, nan=given.nan, **{**options(given), **more})


def onto(motion: Motion, character: CharacterModel) -> Motion:
    """The clip on the character's own skeleton (limits and all) if its bodies are the character's."""
    if motion.skeleton.names != character.skeleton.names:
        return motion
    from dataclasses import replace

    return replace(motion, skeleton=character.skeleton)


def targets(given: argparse.Namespace, sources: Sequence[Path], default_suffix: str = "") -> dict[Path, Path]:
    """Where each source is written.

    ``--out`` with a suffix is a file (one source only), without one a folder; names that meet in it are refused, and
    so is a place where one of the sources lies.
    """
    out: Path | None = given.out
    form = _form(given)
    if out is None:
        raise MotionError("say where to write: --out FILE for one clip, --out FOLDER for several")
    if out.suffix and not out.is_dir():
        if len(sources) > 1:
            raise MotionError(f"--out {out} is one file, but {len(sources)} clips were named; give a folder")
        return _apart({sources[0]: out})
    suffix = registry.FORMATS[form].suffixes[0] if form else f".{(given.to or 'npz').lstrip('.')}"
    placed = {s: out / f"{s.stem}{default_suffix}{suffix}" for s in sources}
    seen: dict[Path, Path] = {}
    for source, place in placed.items():
        if place in seen:
            raise MotionError(f"{source} and {seen[place]} would both be written to {place}; rename one")
        seen[place] = source
    return _apart(placed)


def _apart(placed: dict[Path, Path]) -> dict[Path, Path]:
    """Refuse to write over what is read: a slip of the pen would cost the user's clip."""
    sources = {source.resolve(): source for source in placed}
    for place in placed.values():
        if place.resolve() in sources:
            raise MotionError(f"{place} would be written over the clip that is read; give another name or folder")
    return placed


def _form(given: argparse.Namespace) -> str | None:
    """The format that ``--to`` names, if it is more than a suffix.

    Raises:
        MotionError: neither a format nor a suffix of one.
    """
    if given.to is None or given.to in registry.FORMATS:
        return given.to
    suffixes = {suffix.lstrip(".") for form in registry.FORMATS.values() if form.write for suffix in form.suffixes}
    if given.to.lower().lstrip(".") not in suffixes:
        hint = " (where a cut ends is --to-time)" if "stop" in given else ""
        known = sorted({*registry.FORMATS, *suffixes})
        raise MotionError(f"--to {given.to}: no format{hint}; {nearest(given.to, known)}")
    return None


def each(
    given: argparse.Namespace,
    paths: Sequence[Path],
    work: Callable[[Path], Result],
    say: Callable[[Result], str],
    extra: Callable[[list[Result]], Result] | None = None,
) -> int:
    """Do ``work`` on every path; failures are told and counted, the others go on.

    Args:
        given: command line (``json``).
        paths: files.
        work: returns what there is to tell of one file.
        say: that, for people.
        extra: of all results that succeeded, what to add to the JSON under ``all``.

    Returns:
        Exit code: 0, or 2 if any file failed.
    """
    results: list[Result] = []
    failed = 0
    # disable=None: no bar where stderr is not a terminal
    bar = tqdm(paths, unit="clip", leave=False, disable=True if given.json or len(paths) < 3 else None)
    for path in bar:
        try:
            result = {"file": str(path), "ok": True, **work(path)}
        except (IsaacmmError, OSError) as error:
            failed += 1
            result = {"file": str(path), "ok": False, "error": str(error)}
        except Exception as error:  # one clip that trips us must not take a thousand others with it
            failed += 1
            logging.getLogger(__name__).debug("%s", path, exc_info=True)
            text = f"{path}: this should not happen ({type(error).__name__}: {error}); please report it"
            result = {"file": str(path), "ok": False, "error": text}
        results.append(result)
        if not given.json:
            text = say(result) if result["ok"] else ""
            with tqdm.external_write_mode():
                if text:
                    print(text)
                if not result["ok"]:
                    print(f"error: {result['error']}", file=sys.stderr)
    done = [r for r in results if r["ok"]]
    summary = extra(done) if extra and done else {}
    if given.json:
        print(json.dumps({"clips": results, "failed": failed, **({"all": summary} if summary else {})}, indent=1))
    elif failed and len(results) > 1:
        print(f"{failed} of {len(results)} clips failed", file=sys.stderr)
    return 2 if failed else 0


def write(motion: Motion, path: Path, given: argparse.Namespace) -> str:
    """Write the clip, in the format of ``--to`` or of the file's suffix, and describe it in a line."""
    registry.write(motion, path, format=_form(given))
    return f"wrote {path}: {motion.num_frames} frames at {motion.fps:g} fps"
