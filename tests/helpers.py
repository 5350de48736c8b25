"""Made-up motions and stand-ins, so that tests need neither clips on disk nor a physics engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

from isaacmm import rotation
from isaacmm.character import CharacterModel
from isaacmm.envs.humanoid_amp import HumanoidAMP
from isaacmm.errors import SimulatorError
from isaacmm.motion.clip import Motion
from isaacmm.motion.library import MotionLibrary
from isaacmm.paths import data_folder
from isaacmm.sim import make_simulator
from isaacmm.sim.simulator import Simulator
from isaacmm.state import MotionState, ResetState

torch.set_num_threads(1)

STANDING = 0.885  # m, pelvis above the floor with straight legs


@lru_cache
def character() -> CharacterModel:
    """The default character, parsed once."""
    return CharacterModel.load("humanoid")


def made_up_walk(
    speed: float = 1.0, turn: float = 0.3, seconds: float = 2.0, fps: float = 30.0, name: str = "made_up"
) -> Motion:
    """Something like a walk: every root component and every hinge moves, smoothly and differently.

    Args:
        speed: m/s along the heading.
        turn: rad/s of the heading.
    """
    skeleton = character().skeleton
    t = torch.arange(round(seconds * fps) + 1, dtype=torch.float64) / fps
    yaw = 0.4 + turn * t
    step = speed / fps * torch.stack((torch.cos(yaw), torch.sin(yaw)), dim=-1)
    ground = torch.cumsum(torch.cat((torch.zeros(1, 2, dtype=torch.float64), step[:-1])), dim=0)
    height = STANDING + 0.03 * torch.sin(4.0 * t)
    tilt = torch.stack((0.1 * torch.sin(3.0 * t), 0.15 * torch.cos(2.0 * t), torch.zeros_like(t)), dim=-1)
    root_rot = rotation.multiply(rotation.from_yaw(yaw), rotation.from_rotvec(tilt))
    d = torch.arange(skeleton.num_dofs, dtype=torch.float64)
    middle = skeleton.dof_limits.double().mean(dim=1).clamp(-0.3, 0.3)
    dof_pos = middle + 0.2 * torch.sin(2.0 * torch.pi * t[:, None] * (0.6 + 0.05 * d) + d)
    root_pos = torch.cat((ground, height[:, None]), dim=1)
    return Motion.from_dofs(skeleton, root_pos.float(), root_rot.float(), dof_pos.float(), fps, name)


@lru_cache
def library() -> MotionLibrary:
    """Three made-up clips of different speed, turn and length."""
    clips = [
        made_up_walk(0.8, 0.3, 2.0, name="slow_left"),
        made_up_walk(1.4, -0.5, 1.5, name="brisk_right"),
        made_up_walk(2.0, 0.0, 1.0, fps=60.0, name="fast_straight"),
    ]
    return MotionLibrary(clips, character().skeleton)


def env_config(**changes: Any) -> dict[str, Any]:
    """``task.env`` of the CPU preset with ``changes``; a nested key is written ``command__speed``."""
    config = OmegaConf.load(data_folder("cfg") / "task" / "HumanoidAMP.yaml").env
    config.action, config.dof_observation = "radians", "angles"
    for key, value in changes.items():
        OmegaConf.update(config, key.replace("__", "."), value)
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return {str(k): v for k, v in plain.items()}


class PuppetSimulator:
    """A :class:`Simulator` without physics: hinges jump to their targets, roots keep their velocity.

    Tests set :attr:`next_state` to choose what the next step leads to, and :attr:`broken` to make worlds
    diverge. Everything is in the open: ``resets`` holds the worlds of each reset.
    """

    def __init__(self, num_envs: int, control_hz: int = 30) -> None:
        self.model = character()
        self.num_envs = num_envs
        self.device = torch.device("cpu")
        self.control_dt = 1.0 / control_hz
        self.capabilities: frozenset[str] = frozenset()
        d = self.model.skeleton.num_dofs
        up = torch.tensor([0.0, 0.0, 0.0, 1.0])
        self._now = ResetState(
            torch.zeros(num_envs, 3), up.repeat(num_envs, 1), torch.zeros(num_envs, 3),
            torch.zeros(num_envs, 3), torch.zeros(num_envs, d), torch.zeros(num_envs, d),
        )  # fmt: skip
        self.broken = torch.zeros(num_envs, dtype=torch.bool)
        self.next_state: dict[str, Tensor] = {}
        self.targets = torch.zeros(num_envs, d)
        self.resets: list[list[int]] = []

    def put(self, **fields: Tensor) -> None:
        """Choose fields of the state that the next step leads to."""
        self.next_state.update(fields)

    def reset(self, env_ids: Tensor, state: ResetState) -> None:
        self.resets.append(env_ids.tolist())
        self.broken[env_ids] = False
        for name in ResetState.__dataclass_fields__:
            value = getattr(state, name)
            if not torch.isfinite(value).all():
                raise SimulatorError(f"reset with {name} not finite")
            getattr(self._now, name)[env_ids] = value

    def step(self, dof_targets: Tensor) -> None:
        self.targets = dof_targets.clone()
        now = self._now
        now.dof_vel = (dof_targets - now.dof_pos) / self.control_dt
        now.dof_pos = dof_targets.clone()
        now.root_pos = now.root_pos + now.root_vel * self.control_dt
        for name, value in self.next_state.items():
            setattr(now, name, value.clone())
        self.next_state = {}
        if self.broken.any():
            for name in ResetState.__dataclass_fields__:
                value = getattr(now, name).clone()
                value[self.broken] = float("nan")
                setattr(now, name, value)

    def state(self) -> MotionState:
        now, skeleton = self._now, self.model.skeleton
        pos, rot = skeleton.fk(now.root_pos, now.root_rot, skeleton.dofs_to_joint_rot(now.dof_pos))
        still = torch.zeros_like(pos)
        parts = (getattr(now, name) for name in ResetState.__dataclass_fields__)
        return MotionState(*parts, pos, rot, still, still)

    def diverged(self) -> Tensor:
        return self.broken.clone()

    def push(self, env_ids: Tensor, body: str, force: Tensor) -> None:
        raise NotImplementedError

    def set_gains(self, kp: Tensor | None, kd: Tensor | None) -> None:
        raise NotImplementedError

    def snapshot(self) -> dict[str, Tensor]:
        raise NotImplementedError

    def restore(self, snapshot: Mapping[str, Tensor]) -> None:
        raise NotImplementedError

    def close(self) -> None:
        pass


def mujoco(num_envs: int, **config: Any) -> Simulator:
    """The default simulator, on one thread."""
    return make_simulator(
        "mujoco", character(), {"num_envs": num_envs, "threads": 1, "contact_force": False, **config}
    )


def make_env(
    num_envs: int = 4, seed: int = 3, simulator: Simulator | None = None, **changes: Any
) -> HumanoidAMP:
    """The environment with made-up clips, on the puppet unless another simulator is given."""
    simulator = simulator or PuppetSimulator(num_envs)
    return HumanoidAMP(env_config(**changes), simulator, library(), character(), seed)


def tiny_run(clip: Path, runs_dir: Path, **changes: Any) -> list[str]:
    """Words for ``launch.py`` that train the smallest thing that still does everything.

    8 worlds, 8 steps an iteration, small networks, one thread. ``clip`` is written when it is missing.
    """
    if not clip.exists():
        made_up_walk(1.0, 0.0, 2.0).save(clip)
    words = {
        "task": "HumanoidAMP",
        "preset": "cpu",
        "motion": str(clip),
        "runs_dir": str(runs_dir),
        "headless": "True",
        "num_envs": 8,
        "threads": 1,
        "max_iterations": 6,
        "max_minutes": 100,
        "export_bvh": "False",
        "export_onnx": "False",
        "train.params.network.mlp.units": "[32,16]",
        "train.params.network.disc.units": "[32,16]",
        "train.params.config.horizon_length": 8,
        "train.params.config.minibatch_size": 32,
        "train.params.config.mini_epochs": 2,
        "train.params.config.disc_updates": 2,
        "train.params.config.amp_minibatch_size": 32,
        "train.params.config.amp_replay_buffer_size": 200,
        "train.params.config.save_frequency": 1,
    }
    words.update({key.replace("__", "."): value for key, value in changes.items()})
    return [f"{key}={value}" for key, value in words.items()]


def numbers(rows: Sequence[Mapping[str, str]], without: Sequence[str] = ()) -> list[dict[str, str]]:
    """Rows of a ``progress.csv`` without the columns that hold wall times."""
    timed = {"seconds", "samples_per_second", *without}
    return [
        {key: value for key, value in row.items() if key not in timed and not key.startswith("time_")}
        for row in rows
    ]
