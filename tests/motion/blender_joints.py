"""Runs inside Blender (or a Python with ``bpy``), not under pytest: where Blender puts a BVH file's joints.

    blender --background --factory-startup --python blender_joints.py -- OUT.npz STEP A.bvh B.bvh ...
    python blender_joints.py -- OUT.npz STEP A.bvh B.bvh ...

Imports each file as a user's import menu does (y up, -z forward, every frame one of the scene's) with
``global_scale=0.01``, and writes for file number ``i`` its bones' names ``names_i``, the positions of their
heads ``heads_i [T, B, 3]`` (world, metres) at every STEP-th frame, and the scene's frame numbers ``frames_i``.
"""

from __future__ import annotations

import sys

import bpy
import numpy as np


def heads(path: str, step: int) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Bone names, head positions ``[T, B, 3]`` and frame numbers of one file."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_anim.bvh(filepath=path, global_scale=0.01, update_scene_duration=True)
    figure = next(thing for thing in bpy.context.scene.objects if thing.type == "ARMATURE")
    scene = bpy.context.scene
    first, last = figure.animation_data.action.frame_range  # the importer puts a file's first frame at 1
    frames = np.arange(round(first), round(last) + 1, step)
    places = np.zeros((len(frames), len(figure.pose.bones), 3))
    for i, frame in enumerate(frames):
        scene.frame_set(int(frame))
        for j, bone in enumerate(figure.pose.bones):
            places[i, j] = figure.matrix_world @ bone.head
    return [bone.name for bone in figure.pose.bones], places, frames


def main(out: str, step: str, *paths: str) -> None:
    """All files into one archive."""
    found: dict[str, np.ndarray] = {"version": np.array(bpy.app.version_string)}
    for i, path in enumerate(paths):
        names, places, frames = heads(path, int(step))
        found |= {f"names_{i}": np.array(names), f"heads_{i}": places, f"frames_{i}": frames}
    np.savez(out, **found)


if __name__ == "__main__":
    main(*sys.argv[sys.argv.index("--") + 1 :])
