"""What a database holds, in words."""

from __future__ import annotations

import torch

from isaacmm.matching.controller.table import PoseTable
from isaacmm.matching.database import Database

#: Speeds (m/s) between which rows are counted.
SPEEDS = (0.0, 0.2, 1.0, 1.6, 2.2, 3.0, 10.0)


def facts(database: Database) -> list[str]:
    """Lines for people: rows, what they do, the features with their scales, feet on the ground."""
    library, spec = database.library, database.spec
    longest = float(library.lengths.max())
    lines = [
        f"clips      {library.num_clips}, {library.total_seconds:.1f} s; the longest {longest:.1f} s",
        f"rows       {len(database)} at {database.rate:g} Hz, {int(database.valid.sum())} of them searched, "
        f"{database.features.numel() * 4 / 1e6:.1f} MB of features",
    ]
    tags = sorted({tag for clip in library.tags for tag in clip})
    rows_of = torch.bincount(database.grid.clip, minlength=library.num_clips)
    for tag in tags:
        rows = sum(int(n) for n, own in zip(rows_of, library.tags, strict=True) if tag in own)
        lines.append(f"  tag {tag:<16} {100 * rows / len(database):5.1f} %")
    speed = database.velocity.norm(dim=-1)
    for low, high in zip(SPEEDS[:-1], SPEEDS[1:], strict=True):
        share = float(((speed >= low) & (speed < high)).float().mean())
        lines.append(f"  speed {low:.1f} to {high:4.1f} m/s {100 * share:5.1f} %")
    forward, left = database.velocity.unbind(-1)
    ways = {"backwards": forward < -0.2, "to the left": left > 0.2, "to the right": left < -0.2}
    ways["turning in place"] = (speed < 0.3) & (database.turn_rate.abs() > 0.5)
    lines += [f"  {name:<20} {100 * float(mask.float().mean()):5.1f} %" for name, mask in ways.items()]
    turn = torch.quantile(database.turn_rate.double(), torch.tensor([0.01, 0.99], dtype=torch.float64))
    lines.append(f"turning    {float(turn[0]):+.2f} to {float(turn[1]):+.2f} rad/s (1 % and 99 %)")
    table = PoseTable(database)
    feet = ", ".join(
        f"{name} {100 * float(table.contact[:, i].float().mean()):.0f} %"
        for i, name in enumerate(database.character.feet)
    )
    lines.append(f"on ground  {feet} of the time")
    lines.append(f"features   {spec.size}: {spec.pose_size} of the pose, {spec.trajectory_size} of the path ahead")
    for block in spec.blocks:
        weight = spec.weights.get(block.kind, 1.0)
        scale = float(database.scale[block.start]) * weight
        lines.append(
            f"  {block.name:<22} {block.stop - block.start} numbers, spread {scale:.3f} {block.unit}, weight {weight:g}"
        )
    return lines
