"""Turn token files back into motion, in one piece: there are no windows and so no seams between them.

decode latest walk.json --out walk.bvh
decode latest a.json b.json --joined --out both.bvh   one after the other, as one sequence
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from isaacmm.errors import MotionError
from isaacmm.motion.commands import batch
from isaacmm.motion.io import registry
from isaacmm.vqvae import measure, tokens
from isaacmm.vqvae.commands import shared
from isaacmm.vqvae.tokens import Tokens


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument("files", nargs="+", metavar="TOKENS", help="token files (.json, .txt), or folders of them")
    parser.add_argument("--out", type=Path, required=True, help="clip, or folder for several")
    parser.add_argument("--to", default="bvh", help="suffix of files written into a folder (%(default)s)")
    parser.add_argument("--joined", action="store_true", help="all files as one sequence")
    parser.add_argument("--robot", type=Path, help="also write a CSV of the hinges, in the robot's order")
    parser.add_argument("--window", type=int, help="decode pieces of so many frames by themselves, to see their seams")


def run(given: argparse.Namespace) -> int:
    """Decode."""
    tokenizer = shared.open_tokenizer(given)
    paths = [path for name in given.files for path in _token_files(Path(name))]
    if given.window is not None and given.window < tokenizer.model.frames_per_token:
        raise MotionError(f"--window {given.window}: at least {tokenizer.model.frames_per_token}, one token")
    if given.robot is not None and len(paths) > 1 and not given.joined:
        raise MotionError(f"--robot {given.robot} is one file, but there are {len(paths)} sequences (--joined: one)")
    sequences = {path: tokens.load(path) for path in paths} if given.joined else {}
    if given.joined:
        joined = _join(list(sequences.values()))
        sequences, paths = {paths[0]: joined}, paths[:1]

    def work(path: Path) -> batch.Result:
        held = sequences.get(path) or tokens.load(path)
        motion = tokenizer.decode(held, given.window)
        target = shared.place(given, held.name or path.stem, len(paths) > 1, given.to, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        registry.write(motion, target)
        text = f"wrote {target}: {motion.num_frames} frames at {motion.fps:g} fps"
        if given.robot is not None:
            shared.write_robot(given.robot, tokenizer.spec, motion)
            text += f", hinges in {given.robot}"
        if given.window:
            text += f"; velocity jump at borders over that inside: {measure.seam(motion, given.window):.2f}"
        return {"out": str(target), "text": text}

    return batch.each(given, paths, work, lambda result: str(result["text"]))


def _token_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(p for p in path.iterdir() if p.suffix in tokens.SUFFIXES)
    if not found:
        raise MotionError(f"{path}: holds no token files (.json, .txt)")
    return found


def _join(parts: list[Tokens]) -> Tokens:
    """One sequence; whole tokens of all but the last."""
    if len({part.codes.shape[1] for part in parts}) > 1 or len({p.tokenizer for p in parts if p.tokenizer}) > 1:
        raise MotionError("--joined: these token files come from different tokenizers")
    codes = torch.cat([part.codes for part in parts])
    return replace(parts[0], codes=codes, frames=None, name=f"{parts[0].name}_joined")
