"""Around the Warp simulator: can it run here, how much room it needs, and what to say when there is none."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import mujoco
import numpy as np
import torch

from isaacmm.errors import SimulatorError
from isaacmm.sim.simulator import SimConfig

INSTALL = "pip install 'mujoco-warp>=3.17,<4' 'warp-lang>=1.19,<2'"
#: A character that collides with itself gets room for so many more contacts; no bound of theirs is of use.
SELF_CONTACTS = 32
#: Most points in which a geom touches a plane, by type; others get as many as a box.
_POINTS = {
    mujoco.mjtGeom.mjGEOM_SPHERE: 1,
    mujoco.mjtGeom.mjGEOM_CAPSULE: 2,
    mujoco.mjtGeom.mjGEOM_ELLIPSOID: 1,
}
_BOX_POINTS = 4
#: MuJoCo Warp's solver works in memory of its own, besides what the worlds keep (an estimate).
_SCRATCH = 1.5


def unavailable() -> str | None:
    """Why MuJoCo Warp cannot run here, or None. Imports nothing; a GPU is not needed."""
    found: dict[str, str | None] = {}
    for package in ("mujoco", "mujoco-warp", "warp-lang"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    missing = [name for name, version in found.items() if version is None]
    if missing:
        packages = " and ".join(missing)
        return f"{packages} {'is' if len(missing) == 1 else 'are'} not installed: {INSTALL} 'mujoco>=3.17,<4'"
    return mismatch(*(str(found[name]) for name in ("mujoco", "mujoco-warp", "warp-lang")))


def mismatch(mujoco_version: str, mujoco_warp: str, warp: str) -> str | None:
    """Why these versions do not go together, or None."""
    for name, version, low, high in (
        ("mujoco", mujoco_version, (3, 17), (4, 0)),
        ("mujoco-warp", mujoco_warp, (3, 17), (4, 0)),
        ("warp-lang", warp, (1, 19), (2, 0)),
    ):
        numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
        if not low <= numbers < high:
            return (
                f"mujoco {mujoco_version}, mujoco-warp {mujoco_warp} and warp-lang {warp} do not go together "
                f"({name} has to be {low[0]}.{low[1]} or later, below {high[0]}): {INSTALL} 'mujoco>=3.17,<4'"
            )
    return None


def check_device(device: torch.device, sim: str = "warp") -> None:
    """Refuse a CUDA device that torch or Warp cannot use.

    Raises:
        SimulatorError: which of the two, and what to do.
    """
    if device.type == "cpu":
        return
    if device.type != "cuda":
        raise SimulatorError(f"sim={sim} runs on cpu and cuda:0, cuda:1, ..., not on {device}")
    if torch.version.cuda is None:
        raise SimulatorError(
            f"sim_device={device}: this PyTorch ({torch.__version__}) was built without CUDA; install the CUDA build, "
            "or use sim_device=cpu"
        )
    if not torch.cuda.is_available():
        raise SimulatorError(
            f"sim_device={device}: no NVIDIA GPU or no driver for CUDA {torch.version.cuda} was found (does "
            "`nvidia-smi` list one?); use sim_device=cpu"
        )
    count = torch.cuda.device_count()
    if (device.index or 0) >= count:
        raise SimulatorError(f"sim_device={device}: there are {count} GPUs, the last one is cuda:{count - 1}")
    import warp as wp

    if wp.get_cuda_device_count() <= (device.index or 0):
        driver = ".".join(map(str, wp.get_cuda_driver_version() or ())) or "none"
        raise SimulatorError(
            f"sim_device={device}: PyTorch sees the GPU but Warp {wp.__version__} does not (the driver speaks CUDA "
            f"{driver}); install a newer NVIDIA driver, or an older warp-lang that fits it"
        )


def capacities(m: mujoco.MjModel, config: SimConfig) -> tuple[int, int]:
    """Contacts and constraint rows to make room for per world, from the model.

    Contacts with the ground are bounded by the geoms' shapes, so without self-collision nothing can overflow; with
    it :data:`SELF_CONTACTS` more are provided. ``config.nconmax`` and ``config.njmax`` overrule both.
    """
    in_world = m.geom_bodyid == 0
    contacts = 0
    for geom in np.flatnonzero(~in_world):
        meets = (m.geom_contype[geom] & m.geom_conaffinity[in_world]) | (
            m.geom_conaffinity[geom] & m.geom_contype[in_world]
        )
        contacts += int((meets != 0).sum()) * _POINTS.get(int(m.geom_type[geom]), _BOX_POINTS)
    contacts += SELF_CONTACTS if config.self_collision else 0
    contacts = config.nconmax or max(contacts, 1)
    condim = int(m.geom_condim.max()) if m.ngeom else 3
    pyramidal = m.opt.cone == mujoco.mjtCone.mjCONE_PYRAMIDAL
    rows = max(1, 2 * (condim - 1)) if pyramidal else condim
    # equalities have at most 6 rows (a weld), every limited or frictional hinge and tendon one of each kind
    limits = int(m.jnt_limited.sum()) + int((m.dof_frictionloss > 0).sum())
    limits += int(m.tendon_limited.sum()) + int((m.tendon_frictionloss > 0).sum())
    return contacts, config.njmax or contacts * rows + limits + 6 * int(m.neq)


def bytes_per_world(m: mujoco.MjModel, nconmax: int, njmax: int) -> int:
    """What one more world costs, measured on the CPU device."""
    import mujoco_warp as mjw
    import warp as wp

    with wp.ScopedDevice("cpu"):
        one, two = (_bytes(mjw.make_data(m, nworld=n, nconmax=nconmax, njmax=njmax)) for n in (1, 2))
    return two - one


def _bytes(thing: Any) -> int:
    """Memory of all arrays in a dataclass and the dataclasses inside it."""
    total = 0
    for value in vars(thing).values():
        if type(value).__name__ == "array" and hasattr(value, "capacity"):
            total += int(value.capacity)
        elif hasattr(value, "__dataclass_fields__"):
            total += _bytes(value)
    return total


@contextlib.contextmanager
def explained(m: mujoco.MjModel, config: SimConfig, nconmax: int, njmax: int) -> Iterator[None]:
    """Turn running out of memory into a sentence with a number of worlds that fits."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, SimulatorError) or not _out_of_memory(error):
            raise
        per_world = int(bytes_per_world(m, nconmax, njmax) * _SCRATCH)
        free = _free_bytes(torch.device(config.device))
        raise SimulatorError(
            f"{config.device} has no memory for {config.num_envs} worlds ({per_world / 1e3:.0f} kB each with "
            f"nconmax={nconmax} and njmax={njmax}, {free / 1e9:.1f} GB free); "
            f"try num_envs={worlds_that_fit(free, per_world, config.num_envs)}"
        ) from error


def worlds_that_fit(free: int, per_world: int, wanted: int) -> int:
    """A power of two of worlds, fewer than ``wanted``, in three quarters of ``free`` bytes: learning needs some."""
    fit = max(1, int(0.75 * free) // max(per_world, 1))
    fit = min(fit, max(1, wanted - 1))
    return 1 << (fit.bit_length() - 1)


def _out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) or any(
        words in text for words in ("out of memory", "failed to allocate", "not enough memory")
    )


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0


def overflow_message(bits: int, nconmax: int, njmax: int) -> str:
    """What overflowed and which setting makes room. Empty where nothing of ours did."""
    import mujoco_warp as mjw

    kinds = mjw.OverflowType
    parts = []
    if bits & int(kinds.BROADPHASE | kinds.NARROWPHASE | kinds.CCD):
        parts.append(f"more contacts than there is room for: raise nconmax (now {nconmax} per world)")
    if bits & int(kinds.NEFC | kinds.NJMAX_NNZ):
        parts.append(f"more constraint rows than there is room for: raise njmax (now {njmax} per world)")
    return "; ".join(parts)
