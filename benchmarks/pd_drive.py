"""Where the damping of a PD drive belongs: in the joint or in the servo, and with which torque limit.

    python benchmarks/pd_drive.py [--worlds 32] [--scale 3]

Each variant drives the default humanoid with noisy and with flailing targets for three seconds from
standing. Printed: the speed of the fastest hinge (median and 99th percentile over worlds and steps),
worlds that diverged, and how much of a 2 Hz, 0.5 rad sinusoid in the air hip, knee and shoulder follow.
The row at 480 Hz with the damping in the servo is the reference: what the drive would do in the limit of
small steps. ``--scale`` makes the drives that many times stiffer; the stiffest set in use for this body is
about three times ours.
"""

from __future__ import annotations

import argparse
import math

import mujoco
import numpy as np
from mujoco.batch import Batch

from isaacmm.character import CharacterModel
from isaacmm.sim.mujoco import cores

VARIANTS = (  # name, damping in the joint, multiple of the nominal torque limit, physics Hz
    ("damping in the servo, limit x1, 480 Hz", False, 1.0, 480),
    ("damping in the servo, limit x1, 120 Hz", False, 1.0, 120),
    ("damping in the joint, limit x1, 120 Hz", True, 1.0, 120),
    ("damping in the joint, limit x3, 120 Hz", True, 3.0, 120),
    ("damping in the joint, limit x3, 60 Hz", True, 3.0, 60),
)


def build(model: CharacterModel, in_joint: bool, limit: float, hz: int, scale: float) -> mujoco.MjModel:
    """The humanoid with its damping moved and its torque limits scaled (its file has them tripled)."""
    m = mujoco.MjModel.from_xml_path(str(model.mjcf))
    m.opt.timestep = 1.0 / hz
    m.actuator_forcerange *= limit / 3.0
    m.actuator_gainprm[:, 0] *= scale
    m.actuator_biasprm[:, 1] *= scale
    m.dof_damping *= scale
    if not in_joint:
        m.actuator_biasprm[:, 2] = -m.dof_damping[6:]
        m.dof_damping[6:] = 0.0
    return m


def drive(m: mujoco.MjModel, worlds: int, noise: float, hold: int, seed: int) -> tuple[np.ndarray, int]:
    """Fastest hinge ``[steps, worlds]`` rad/s under random targets held for ``hold`` steps, and who diverged."""
    batch = Batch(m, worlds, cores())
    qvel, ctrl = batch.bind("qvel"), batch.bind("ctrl")
    batch.reset()
    rng = np.random.default_rng(seed)
    speeds = []
    for k in range(90):
        if k % hold == 0:
            ctrl[:] = np.clip(rng.normal(scale=noise, size=ctrl.shape), *m.jnt_range[1:].T)
        batch.step(nstep=round(1 / 30 / m.opt.timestep))
        speeds.append(np.abs(qvel[:, 6:]).max(axis=1))
    return np.array(speeds), int((batch.warning[:, :, 1].sum(axis=1) > 0).sum())


def follow(m: mujoco.MjModel, joint: str) -> float:
    """Amplitude of ``joint`` over that of its 2 Hz target, with the pelvis held in the air."""
    d = mujoco.MjData(m)
    d.qpos[2] = 3.0
    root = d.qpos[:7].copy()
    j = m.joint(joint)
    middle, reached = float(np.clip(0.0, *(j.range + [0.6, -0.6]))), []
    d.qpos[j.qposadr] = middle
    for k in range(round(2.0 / m.opt.timestep)):
        d.ctrl[m.actuator(joint).id] = middle + 0.5 * math.sin(4 * math.pi * k * m.opt.timestep)
        mujoco.mj_step(m, d)
        d.qpos[:7], d.qvel[:6] = root, 0.0
        if k * m.opt.timestep > 1.0:
            reached.append(float(d.qpos[j.qposadr][0]))
    return (max(reached) - min(reached)) / 2 / 0.5


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=32)
    parser.add_argument("--scale", type=float, default=1.0, help="stiffness and damping times this")
    args = parser.parse_args()
    model = CharacterModel.load()
    log = mujoco.MjLogConfig.get()
    log.logto_console = log.logto_file = False
    log.set()
    print(f"{'':40s} noisy |qd|    flailing |qd|       2 Hz: hip knee shoulder")
    for name, in_joint, limit, hz in VARIANTS:
        m = build(model, in_joint, limit, hz, args.scale)
        noisy, bad_noisy = drive(m, args.worlds, noise=0.2, hold=1, seed=0)
        wild, bad_wild = drive(m, args.worlds, noise=1.0, hold=6, seed=1)
        tracks = [follow(m, j) for j in ("right_hip_y", "right_knee", "right_shoulder_y")]
        print(
            f"{name:40s} {np.median(noisy):4.1f} / {np.percentile(noisy, 99):5.1f}  "
            f"{np.median(wild):4.1f} / {np.percentile(wild, 99):5.1f}, {bad_noisy + bad_wild:2d} diverged   "
            + "  ".join(f"{t:.2f}" for t in tracks)
        )


if __name__ == "__main__":
    main()
