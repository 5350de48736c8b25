"""Group clips by the codes they are made of.

cluster latest --groups 6             the clips it was trained with
cluster latest clips/ --groups 4 --json
"""

from __future__ import annotations

import argparse
import json

from isaacmm.errors import ConfigError
from isaacmm.vqvae import usage
from isaacmm.vqvae.commands import inspect, shared
from isaacmm.vqvae.tokenizer import histograms


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    inspect.add_clips(parser)
    parser.add_argument("--groups", type=int, default=6, help="how many (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the beginnings that are tried (%(default)s)")


def run(given: argparse.Namespace) -> int:
    """Cluster."""
    if given.groups < 1:
        raise ConfigError(f"--groups {given.groups}: at least 1")
    tokenizer = shared.open_tokenizer(given)
    tokenizer.need_tokens()
    clips = shared.clips_of(given, tokenizer)
    counts = histograms(tokenizer, tokenizer.codes(clips))
    which = usage.clusters(list(counts), given.groups, given.seed)
    groups: dict[int, list[int]] = {}
    for index, group in enumerate(which):
        groups.setdefault(group, []).append(index)
    ordered = sorted(groups.values(), key=len, reverse=True)
    if given.json:
        print(json.dumps({"groups": [[clips[i].name for i in members] for members in ordered]}, indent=1))
        return 0
    for number, members in enumerate(ordered, start=1):
        own = counts[members].sum(0)
        others = counts.sum(0) - own
        apart = usage.divergence(own, others) if float(others.sum()) else float("nan")
        seconds = sum(clips[i].duration for i in members)
        print(f"{number}: {len(members)} clips, {seconds:.0f} s, divergence from the rest {apart:.2f} bits")
        for start in range(0, len(members), 4):
            print("    " + ", ".join(clips[i].name for i in members[start : start + 4]))
    return 0
