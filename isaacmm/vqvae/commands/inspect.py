"""How a tokenizer's codes are used: how many, how evenly, and what they stand for.

inspect latest                    on the clips it was trained with
inspect latest clips/ --picture usage.png
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from isaacmm.errors import ConfigError
from isaacmm.motion.clip import Motion
from isaacmm.vqvae import usage
from isaacmm.vqvae.commands import shared
from isaacmm.vqvae.tokenizer import Tokenizer, histograms


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    add_clips(parser)
    parser.add_argument("--top", type=int, default=8, help="how many of the most used codes to explain (%(default)s)")
    parser.add_argument("--picture", type=Path, help="draw use of codes, and codes by clips, into a PNG")


def add_clips(parser: argparse.ArgumentParser) -> None:
    """Clips that need not be named."""
    parser.add_argument("clips", nargs="*", metavar="CLIPS", help="files, folders or globs; none: the training's")
    parser.add_argument("--read", action="append", default=[], metavar="OPTION=VALUE",
                        help="option of the reader, e.g. scale=0.05644")  # fmt: skip


def run(given: argparse.Namespace) -> int:
    """Inspect."""
    if given.top < 0:
        raise ConfigError(f"--top {given.top}: 0 or more codes")
    tokenizer = shared.open_tokenizer(given)
    tokenizer.need_tokens()
    clips = shared.clips_of(given, tokenizer)
    codes = tokenizer.codes(clips)
    report: dict[str, Any] = {"tokenizer": str(tokenizer.path), **tokenizer.rates(), "layers": layers(tokenizer, codes)}
    counts = histograms(tokenizer, codes)
    report["codes"] = explain(tokenizer, clips, counts, given.top)
    if given.picture is not None:
        draw(given.picture, counts, clips, tokenizer)
    if given.json:
        print(json.dumps(report, indent=1))
        return 0
    seconds = sum(clip.duration for clip in clips)
    print(f"{tokenizer.path}: {tokenizer.model.shape.quantizer}, {len(clips)} clips, {seconds:.0f} s")
    print(
        f"  {report['bits_per_token']:.1f} bits per token of {tokenizer.model.frames_per_token} frames, "
        f"{report['bits_per_second']:.0f} bit/s: 1/{report['ratio_pose']:.0f} of the poses in float32, "
        f"1/{report['ratio_features']:.0f} of the features"
    )
    print("  layer  codes   used  perplexity  entropy (bits)")
    for row in report["layers"]:
        print(f"  {row['layer']:>5}{row['codes']:>7}{row['used']:>7}{row['perplexity']:>12.1f}{row['entropy']:>10.2f}")
    print("  the most used codes of the first layer, and where they are most at home:")
    for row in report["codes"]:
        where = "; ".join(f"{place['clip']} at {place['time']:.2f} s" for place in row["nearest"])
        often = ", ".join(f"{name} {100 * part:.0f} %" for name, part in row["clips"].items())
        print(f"  {row['code']:>6}  {100 * row['share']:>4.1f} %  nearest: {where};  used by {often}")
    if given.picture is not None:
        print(f"wrote {given.picture}")
    return 0


def layers(tokenizer: Tokenizer, codes: list[Tensor]) -> list[dict[str, Any]]:
    """Use of each layer's codes."""
    every, rows = torch.cat(codes), []
    for layer, size in enumerate(tokenizer.model.quantizer.sizes):
        count = usage.histogram(every[:, layer], size)
        perplexity = usage.perplexity(count)
        rows.append({
            "layer": layer, "codes": size, "used": int((count > 0).sum()), "perplexity": perplexity,
            "entropy": math.log2(perplexity),
        })  # fmt: skip
    return rows


def explain(tokenizer: Tokenizer, clips: list[Motion], counts: Tensor, top: int) -> list[dict[str, Any]]:
    """The most used codes: which clips use them, and which moments lie nearest to what they stand for."""
    model, places = tokenizer.model, []
    for index, clip in enumerate(clips):
        rows = model.padded(tokenizer.spec.extract(clip))
        z = model.latents(model.normalise(rows)[None])[0]
        places += [(z, torch.full((len(z),), index), torch.arange(len(z)))]
    z, which, step = (torch.cat([place[i] for place in places]) for i in range(3))
    total = counts.sum(0)
    made = []
    for code in total.argsort(descending=True)[:top].tolist():
        if not total[code]:
            break
        tokens = torch.zeros(1, model.quantizer.layers, dtype=torch.int64)
        tokens[0, 0] = code
        first = tokens[:, :1] if hasattr(model.quantizer, "books") else tokens
        distance = (z - model.quantizer.decode(first)[0]).square().sum(-1)
        share = counts[:, code] / total[code]
        seconds = step * (model.frames_per_token / tokenizer.spec.fps)
        made.append({
            "code": code,
            "share": float(total[code] / total.sum()),
            "nearest": [
                {"clip": clips[int(which[i])].name, "time": float(seconds[i])}
                for i in distance.argsort()[:2].tolist()
            ],
            "clips": {clips[i].name: float(share[i]) for i in share.argsort(descending=True)[:3].tolist() if share[i]},
        })  # fmt: skip
    return made


def draw(path: Path, counts: Tensor, clips: list[Motion], tokenizer: Tokenizer) -> None:
    """How often each code is used, and by which clips."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    total = usage.share(counts.sum(0))
    order = total.argsort(descending=True)
    order = order[total[order] > 0]
    rows = usage.share(counts)[:, order].sqrt()
    figure = Figure(figsize=(9.0, 2.6 + 0.11 * min(len(clips), 60)), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1.0, 0.4 + 0.07 * min(len(clips), 60)))
    above.bar(range(len(order)), 100.0 * total[order].numpy(), width=1.0, color="#2471a3")
    above.set(ylabel="% of tokens")
    above.set_title(
        f"{len(order)} of {len(total)} codes used, perplexity {usage.perplexity(counts.sum(0)):.0f} "
        f"({tokenizer.model.shape.quantizer}, first layer)", fontsize=9,
    )  # fmt: skip
    below.imshow(rows.numpy(), aspect="auto", cmap="magma", interpolation="nearest")
    below.set(xlabel="codes, the most used first")
    if len(clips) <= 60:
        below.set_yticks(range(len(clips)), [clip.name[:28] for clip in clips], fontsize=5)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png")
