"""Milliseconds per 640x480 frame: our renderer against casting one ray through every pixel.

``python benchmarks/render.py``; the last line is ``ratio <number>``: rays alone over whole frames (above 1 means
that a finished picture costs less than the rays of a plain ray caster).
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import torch

from isaacmm.character import CharacterModel
from isaacmm.export.video import motion_track
from isaacmm.motion.clip import Motion
from isaacmm.paths import resolve
from isaacmm.render.actor import Actor
from isaacmm.render.camera import follow
from isaacmm.render.playback import frames

torch.set_num_threads(1)


def main() -> None:
    """Print both and their ratio."""
    character = CharacterModel.load()
    motion = Motion.load(resolve("motions/walk_1.4.npz"), character.skeleton).resample(30.0).slice(0, 40)
    track = motion_track(character, motion)
    actor = Actor.from_mjcf(character.mjcf, character.skeleton.dof_names)
    camera = follow(track.root_pos, track.root_rot, 30.0)[0]
    x, y = np.meshgrid(np.arange(640) + 0.5, np.arange(480) + 0.5)
    rays = camera.rays(x.reshape(-1), y.reshape(-1))
    ours, plain = [], []
    pictures = frames(character, [track], 30.0)
    for f in range(motion.num_frames):
        begin = time.perf_counter()
        next(pictures)
        ours.append(time.perf_counter() - begin)
        actor.pose(track.root_pos[f], track.root_rot[f], track.dof_pos[f])
        begin = time.perf_counter()
        actor.cast(camera.position, rays)
        plain.append(time.perf_counter() - begin)
    mine, theirs = 1e3 * statistics.median(ours[1:]), 1e3 * statistics.median(plain[1:])
    print(f"whole frame, shaded, with shadows and antialiasing: {mine:.1f} ms")
    print(f"mj_multiRay through every pixel, nothing else:      {theirs:.1f} ms")
    print(f"ratio {theirs / mine:.2f}")


if __name__ == "__main__":
    main()
