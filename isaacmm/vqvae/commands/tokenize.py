"""Write clips as tokens.

tokenize latest walk.bvh --out walk.json      everything that is needed to give the clip back
tokenize latest clips/ --out tokens/ --to txt  a line of numbers per step
"""

from __future__ import annotations

import argparse
from pathlib import Path

from isaacmm.motion.commands import batch
from isaacmm.vqvae.commands import shared


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    batch.add_clips(parser, out="token file, or folder for several clips")
    parser.set_defaults(to="json")


def run(given: argparse.Namespace) -> int:
    """Tokenize."""
    tokenizer = shared.open_tokenizer(given)
    tokenizer.need_tokens()
    character = shared.character_of(tokenizer)
    given.out = given.out or Path()
    paths, rates = batch.files(given), tokenizer.rates()

    def work(path: Path) -> batch.Result:
        clips = shared.read(path, given, tokenizer, character)
        lines = []
        for clip in clips:
            tokens = tokenizer.encode(clip)
            target = shared.place(given, clip.name or path.stem, len(paths) * len(clips) > 1, given.to, path)
            tokens.save(target)
            steps, layers = tokens.codes.shape
            size = steps * rates["bits_per_token"] / 8.0
            lines.append(
                f"wrote {target}: {tokens.frames} frames as {steps} x {layers} tokens, {size:.0f} bytes of information "
                f"({rates['bits_per_second']:.0f} bit/s, 1/{rates['ratio_pose']:.0f} of the poses in float32)"
            )
        return {"text": "\n".join(lines), **rates}

    return batch.each(given, paths, work, lambda result: str(result["text"]))
