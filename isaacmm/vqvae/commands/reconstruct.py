"""Send clips through the tokenizer and back, and say what that costs.

reconstruct latest motions/walk_1.2.npz --out walk.bvh
reconstruct my_run clips/ --out reconstructed/
"""

from __future__ import annotations

import argparse
from pathlib import Path

from isaacmm.errors import MotionError
from isaacmm.motion.clip import Motion
from isaacmm.motion.commands import batch
from isaacmm.motion.io import registry
from isaacmm.vqvae import measure, picture
from isaacmm.vqvae.commands import shared
from isaacmm.vqvae.tokens import Tokens

#: Windows whose seams are reported beside decoding in one piece (frames).
_WINDOW = 32


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    batch.add_clips(parser, out="clip, or folder for several")
    parser.set_defaults(to="bvh")
    parser.add_argument("--without-quantizer", action="store_true", help="keep the latent vectors as they are")
    parser.add_argument("--picture", type=Path, help="PNG: moments of each clip above what came back (at most 4 clips)")
    parser.add_argument("--original", action="store_true", help="also write the clip as the tokenizer sees it")


def run(given: argparse.Namespace) -> int:
    """Reconstruct."""
    tokenizer = shared.open_tokenizer(given)
    character = shared.character_of(tokenizer)
    given.out = given.out or Path()
    paths, shown = batch.files(given), list[tuple[Motion, Motion]]()

    def work(path: Path) -> batch.Result:
        clips = shared.read(path, given, tokenizer, character)
        lines, values = [], {}
        for clip in clips:
            quantize = bool(tokenizer.model.quantizer.layers) and not given.without_quantizer
            made = tokenizer.reconstruct(clip, quantize)
            truth, ours = tokenizer.spec.extract(clip), tokenizer.spec.extract(made)
            figures = measure.compare(tokenizer.spec, truth, ours).values()
            target = shared.place(given, f"{clip.name}_reconstructed", len(paths) * len(clips) > 1, given.to, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            registry.write(made, target)
            if given.original:
                clip.resample(tokenizer.spec.fps).save(target.with_name(f"{target.stem}_original{target.suffix}"))
            shown.append((clip.resample(tokenizer.spec.fps), made))
            values[clip.name] = figures
            text = ", ".join(f"{figures[k]:.1f} {u}" for k, u in (
                ("mpjpe_mm", "mm per joint"), ("rotation_deg", "degrees"), ("drift_1s_mm", "mm drift in a second")
            ))  # fmt: skip
            line = f"wrote {target}: {made.num_frames} frames; {text}"
            if quantize and made.num_frames > 2 * _WINDOW:
                tokens: Tokens = tokenizer.encode(clip)
                pieces = tokenizer.decode(tokens, window=_WINDOW)
                seams = [measure.seam(motion, _WINDOW) for motion in (made, pieces)]
                figures["seam"], figures["seam_in_windows"] = seams
                line += f"; velocity jump every {_WINDOW} frames {seams[0]:.2f} (decoded in windows: {seams[1]:.2f})"
            lines.append(line)
        return {"clips": values, "text": "\n".join(lines)}

    code = batch.each(given, paths, work, lambda result: str(result["text"]))
    if given.picture is not None and shown:
        if tokenizer.spec.skeleton.names != character.skeleton.names:
            raise MotionError("--picture: only the character can be drawn, and this tokenizer is for another skeleton")
        picture.compare(given.picture, character, shown[:4])
        if not given.json:
            print(f"wrote {given.picture}")
    return code
