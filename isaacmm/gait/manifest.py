"""The list that accompanies the clips: `MANIFEST.json` for programs, `MANIFEST.md` for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from isaacmm import rotation
from isaacmm.gait.body import Body
from isaacmm.gait.generate import GENERATOR_VERSION, Spec
from isaacmm.gait.laws import plan
from isaacmm.gait.measure import Figures, measure, strikes
from isaacmm.motion.clip import Motion

STATEMENT = (
    "Synthetic: every clip is computed by isaacmm.gait from published facts about human gait (docs/gait.md). No "
    "person was recorded and no motion capture went into it. The clips are smoother and less rich than recorded "
    "motion. They are part of this project and under its licence."
)


def figures(motion: Motion, body: Body) -> Figures:
    """Measured figures of a clip."""
    contacts = motion.contacts
    if contacts is None:
        raise ValueError(f"{motion.name}: a generated clip without contacts")
    return measure(
        body,
        motion.root_pos.double().numpy(),
        rotation.to_matrix(motion.root_rot.double()).numpy(),
        motion.dof_pos().double().numpy(),
        contacts.numpy().astype(bool),
        motion.fps,
    )


def travelling_speed(spec: Spec, motion: Motion, body: Body) -> float:
    """Mean speed (m/s) over the part of an unsteady clip that is steady: the first gait cycle of a stop, the
    last one of other walks that change, between the second and the last but one landing of the left foot otherwise."""
    if not spec.speed or motion.contacts is None:
        return 0.0
    path = motion.root_pos[:, :2].double()
    if spec.manner in ("start", "stop", "corner", "change"):
        frames = round(motion.fps * plan(spec.speed, body.leg_length, spec.speed > 2).duration)
        first, last = (0, frames) if spec.manner == "stop" else (-1 - frames, -1)
    else:
        landings = strikes(motion.contacts[:, 1].numpy().astype(bool))
        first, last = int(landings[1]), int(landings[-2])
        frames = last - first
    return float((path[last] - path[first]).norm()) * motion.fps / frames


def turned(motion: Motion) -> float:
    """Degrees from the first heading to the last one, left positive."""
    yaw = rotation.yaw(motion.root_rot.double()).numpy()
    return float(np.rad2deg(np.unwrap(yaw)[-1] - yaw[0]))


def entry(spec: Spec, motion: Motion, body: Body) -> dict[str, Any]:
    """What the manifest says about one clip."""
    found = figures(motion, body)
    cycles = spec.steady
    return {
        "file": f"{spec.name}.npz",
        "tags": list(spec.tags),
        "speed": spec.speed,
        "curvature": spec.curvature,
        "seconds": round(motion.duration, 3),
        "frames": motion.num_frames,
        "fps": motion.fps,
        "measured": {
            "turned_degrees": round(turned(motion), 1),
            "speed": round(found.speed if cycles else travelling_speed(spec, motion, body), 3),
            "curvature": round(found.curvature, 3) if cycles else None,
            "stance_percent": round(100 * found.stance, 1),
            "steps_per_minute": round(found.cadence, 1) if cycles else None,
            "walk_ratio": round(found.walk_ratio, 5) if cycles else None,
            "pelvis_bob_cm": round(100 * found.bob, 1),
            "swing_clearance_cm": round(100 * found.clearance, 1) if found.cadence else None,
            "foot_slide_mm_per_frame": round(1000 * found.slide, 2),
            "penetration_mm": round(1000 * found.penetration, 2),
            "floor_force_body_weights": [round(f, 2) for f in found.load],
            "pressure_outside_soles_mm": round(1000 * found.pressure_outside, 1),
        },
    }


def _cell(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def write(folder: Path, made: Sequence[tuple[Spec, Motion]], body: Body, seed: int) -> None:
    """Write both files."""
    clips = [entry(spec, motion, body) for spec, motion in made]
    head = {"statement": STATEMENT, "generator": "isaacmm.gait", "generator_version": GENERATOR_VERSION,
            "seed": seed, "command": "python -m isaacmm.gait --out motions", "character": "humanoid"}  # fmt: skip
    rows = ",\n".join("  " + json.dumps(c) for c in clips)
    lines = ",\n".join(f' "{k}": {json.dumps(v)}' for k, v in head.items())
    (folder / "MANIFEST.json").write_text(f'{{\n{lines},\n "clips": [\n{rows}\n ]\n}}\n')
    total = sum(c["seconds"] for c in clips)
    text = [
        "# Clips",
        "",
        STATEMENT,
        "",
        f"{len(clips)} clips, {total:.0f} s, made by `python -m isaacmm.gait --out motions` (generator version "
        f"{GENERATOR_VERSION}, seed {seed}). The last frame of a steady clip is its first pose again, moved on, so "
        "that it loops without a seam. Side steps, walking backwards and turns on the spot begin and end with "
        "standing; starts and stops have standing at one end and steady walking or running at the other. Contacts: "
        "right foot, left foot. Every `right` clip is the mirror image of the `left` one. `MANIFEST.json` holds the "
        "same for programs, and more.",
        "",
        "Measured: floor force in body weights, smallest to largest; CoP: how far, on average, the centre of "
        "pressure that the motion asks for lies outside the soles.",
        "",
        "| clip | tags | m/s | 1/m | s | fps | stance % | steps/min | bob cm | clearance cm | slide mm/frame | floor "
        "force | CoP mm |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for c in clips:
        m = c["measured"]
        low, high = m["floor_force_body_weights"]
        text.append(
            f"| {c['file']} | {' '.join(c['tags'])} | {c['speed']:.1f} | {c['curvature']:+.2f} | {c['seconds']:.1f} | "
            f"{c['fps']:.0f} | {m['stance_percent']:.0f} | {_cell(m['steps_per_minute'])} | {m['pelvis_bob_cm']:.1f} | "
            f"{_cell(m['swing_clearance_cm'], 1)} | "
            f"{m['foot_slide_mm_per_frame']:.2f} | {low:.2f} .. {high:.2f} | {m['pressure_outside_soles_mm']:.0f} |"
        )
    (folder / "MANIFEST.md").write_text("\n".join(text) + "\n")
