"""Figures of a set of clips: length, speed, turning, contacts, and how much of each there is.

stats motions/
stats "data/**/*.bvh" --json
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch

from isaacmm import rotation
from isaacmm.motion import repair
from isaacmm.motion.balance import SPEED_EDGES, TURN_EDGES
from isaacmm.motion.clip import Motion
from isaacmm.motion.commands import batch
from isaacmm.motion.contacts import with_contacts


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    batch.add_clips(parser)


def measure(motion: Motion) -> batch.Result:
    """Figures of one clip."""
    motion = repair.repair(motion)[0]
    velocity = torch.gradient(motion.root_pos[:, :2], spacing=1.0 / motion.fps, dim=0)[0]
    heading = rotation.yaw(motion.root_rot)
    turned = rotation.wrap_angle(heading[1:] - heading[:-1])
    speed = velocity.norm(dim=-1)
    touching = with_contacts(motion).contacts
    return {
        "frames": motion.num_frames,
        "fps": motion.fps,
        "seconds": motion.duration,
        "speed": float(speed.mean()),
        "speed_95": float(torch.quantile(speed, 0.95)),
        "turn": float(turned.sum()) / max(motion.duration, 1e-6),
        "contact": None if touching is None else float(touching.float().mean()),
        "tags": list(motion.tags),
    }


def run(given: argparse.Namespace) -> int:
    """Stats."""
    paths = batch.files(given)

    def work(path: Path) -> batch.Result:
        return measure(batch.read(path, given))

    def say(r: batch.Result) -> str:
        contact = "" if r["contact"] is None else f"  contact {100 * r['contact']:3.0f}%"
        return (
            f"{Path(r['file']).name:<44} {r['seconds']:7.2f} s {r['fps']:5g} fps  {r['speed']:5.2f} m/s "
            f"(95%: {r['speed_95']:.2f})  turn {math.degrees(r['turn']):+6.1f} deg/s{contact}"
        )

    def total(results: list[batch.Result]) -> batch.Result:
        seconds = torch.tensor([r["seconds"] for r in results])
        speed = torch.bucketize(torch.tensor([r["speed"] for r in results]), torch.tensor(SPEED_EDGES))
        turn = torch.bucketize(torch.tensor([r["turn"] for r in results]), torch.tensor(TURN_EDGES))
        table = torch.zeros(len(SPEED_EDGES) + 1, len(TURN_EDGES) + 1)
        table.index_put_((speed, turn), seconds, accumulate=True)
        tags: dict[str, float] = {}
        for r in results:
            for tag in r["tags"]:
                tags[tag] = tags.get(tag, 0.0) + r["seconds"]
        figures = {
            "clips": len(results), "seconds": float(seconds.sum()), "frames": sum(r["frames"] for r in results),
            "seconds_by_speed_and_turn": [[round(x, 2) for x in row] for row in table.tolist()],
            "speed_edges": list(SPEED_EDGES), "turn_edges": list(TURN_EDGES), "seconds_by_tag": tags,
        }  # fmt: skip
        if not given.json:
            print(_table(figures))
        return figures

    return batch.each(given, paths, work, say, total)


def _table(figures: batch.Result) -> str:
    def bins(edges: list[float], unit: str) -> list[str]:
        inner = [f"{a:g} to {b:g}" for a, b in zip(edges, edges[1:], strict=False)]
        return [f"under {edges[0]:g}", *inner, f"over {edges[-1]:g} {unit}"]

    lines = [f"\n{figures['clips']} clips, {figures['seconds']:.1f} s, {figures['frames']} frames; seconds by speed "
             "(down, m/s) and turn (across, rad/s, left is positive)"]  # fmt: skip
    lines.append(" " * 14 + "".join(f"{b:>16}" for b in bins(figures["turn_edges"], "rad/s")))
    rows = zip(bins(figures["speed_edges"], "m/s"), figures["seconds_by_speed_and_turn"], strict=True)
    lines += [f"{name:>14}" + "".join(f"{x:16.1f}" for x in row) for name, row in rows]
    if figures["seconds_by_tag"]:
        lines.append("tags: " + ", ".join(f"{k} {v:.1f} s" for k, v in sorted(figures["seconds_by_tag"].items())))
    return "\n".join(lines)
