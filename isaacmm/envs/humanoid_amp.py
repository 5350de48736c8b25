"""HumanoidAMP: a simulated character that goes where it is told, in the style of clips."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector.utils import batch_space
from torch import Tensor

from isaacmm import rotation
from isaacmm.character import CharacterModel
from isaacmm.envs import rewards
from isaacmm.envs.actions import ActionMap
from isaacmm.envs.commands import SteeringCommand
from isaacmm.envs.device_loop import hand_out, pool_size
from isaacmm.envs.observations import Proprioception, Slice
from isaacmm.envs.reference import ReferenceTable
from isaacmm.errors import ConfigError, SimulatorError, nearest
from isaacmm.motion.library import MotionLibrary
from isaacmm.sim.simulator import Simulator
from isaacmm.state import MotionState, ResetState

REFERENCES = ("none", "observe", "residual")


class HumanoidAMP(gym.vector.VectorEnv):
    """Vectorised environment; tensors in, tensors out, worlds reset themselves.

    One step: PD targets are held for a control step; the transition is judged (reward, falls,
    time-outs, discriminator observation); only then are finished worlds put into a random reference
    state, with the history of that reference. So the observation that ends an episode is the one the
    character died with, never the clip's.

    The observation is :class:`Proprioception`, then the command (3), then, with ``reference`` other
    than ``none``, the hinge angles of the reference one control step ahead (D).

    ``reference``: ``none`` knows only itself and the command; ``observe`` also sees the next pose of a
    playhead in the library; ``residual`` adds its action to that pose. With a reference the commanded
    speed is the playing clip's own.

    ``info`` of :meth:`step`: ``amp_obs [N, H*F]`` newest frame first and ``final_obs [N, O]``, both
    from before any reset; ``condition [N, K]`` and ``reference [N]``, what the discriminator is told of the command
    (nothing here: ``K = 0``) and which clip row answers it; ``reward_terms`` name -> ``[N]``; ``diverged [N]``
    worlds whose simulation blew up in this step; ``episode_steps [N]`` length so far, the one just ended included.

    Args:
        config: ``task.env`` (cfg/task/HumanoidAMP.yaml).
        simulator: the worlds.
        library: reference clips of the same character.
        character: the model.
        seed: of commands and resets.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - declared so by gymnasium
        "autoreset_mode": gym.vector.AutoresetMode.SAME_STEP,
        "render_modes": [],
    }

    def __init__(
        self,
        config: Mapping[str, Any],
        simulator: Simulator,
        library: MotionLibrary,
        character: CharacterModel,
        seed: int = 42,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        self.config = config
        self.simulator, self.library = simulator, library
        self.device = torch.device(device)
        self.character = character.to(self.device)
        self.num_envs = simulator.num_envs
        self.dt = simulator.control_dt
        self.generator = torch.Generator(self.device).manual_seed(seed)
        #: nothing in a step waits for the device (:mod:`isaacmm.envs.device_loop`); other random numbers, same odds
        self.sync_free = bool(config.get("sync_free", self.device.type == "cuda"))
        self.sync_free &= "reset_rows" in simulator.capabilities

        self.reference_mode = _choice(config, "reference", REFERENCES, "none")
        self.reward_kind = _choice(config, "task_reward", self.TASK_REWARDS, self.TASK_REWARDS[0])
        self.reset_kind = _choice(config, "reset", self.RESETS, self.RESETS[0])
        self.amp_frames = int(config.get("amp_frames", 2))
        self.max_steps = round(float(config.get("episode_seconds", 10.0)) / self.dt)
        if self.amp_frames < 1 or self.max_steps < 2:
            raise ConfigError("task.env: amp_frames must be at least 1 and episode_seconds longer than a control step")
        reward = dict(config.get("reward", {}))
        self.sharpness = float(reward.get("sharpness", 2.0))
        self.facing = float(reward.get("facing", 0.5))
        self.slowest = float(reward.get("slowest", 1.0))
        self.track_reference = bool(config.get("track_reference", False)) and self.reference_mode != "none"

        self.observe = Proprioception(self.character, config.get("dof_observation", "angles"))
        self.actions = ActionMap(self.character.skeleton, config.get("action", "radians"))
        self._prepare(dict(config.get("command", {})))
        self.command.sync_free = self.sync_free
        self._falls = self._fall_heights(dict(config.get("termination", {})))

        dofs = self.character.skeleton.num_dofs
        self.observation_size = self.observe.size + self.command.size
        self.observation_size += dofs if self.reference_mode != "none" else 0
        self.amp_observation_size = self.amp_frames * self.observe.size
        limit = 1.0 if self.actions.kind == "classic" else np.pi
        self.single_observation_space = gym.spaces.Box(-np.inf, np.inf, (self.observation_size,), np.float32)
        self.single_action_space = gym.spaces.Box(-limit, limit, (dofs,), np.float32)
        self.amp_observation_space = gym.spaces.Box(-np.inf, np.inf, (self.amp_observation_size,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

        n, device = self.num_envs, self.device
        self.steps = torch.zeros(n, dtype=torch.int64, device=device)
        self.playhead = torch.zeros(n, dtype=torch.int64, device=device)
        self.history = torch.zeros(n, self.amp_frames, self.observe.size, device=device)
        self.root_yaw = torch.zeros(n, device=device)
        self._diverged_total = torch.zeros((), dtype=torch.int64, device=device)
        #: wall time spent in the simulator so far, for the share that training logs
        self.physics_seconds = 0.0
        #: and in motion matching
        self.matching_seconds = 0.0

    #: ways to begin an episode
    RESETS: tuple[str, ...] = ("random", "default")
    TASK_REWARDS: tuple[str, ...] = rewards.KINDS

    def _prepare(self, command: dict[str, Any]) -> None:
        """What is told and what it should look like: ``self.command`` and ``self.table``."""
        self.table = ReferenceTable(self.library, self.observe, 1.0 / self.dt, history=self.amp_frames)
        self.clip_speeds = self.library.mean_speed()
        self.command_start = _choice(command, "start", ("clip", "random"), "clip", "task.env.command")
        self.command: Any = SteeringCommand.from_config(
            command, self.num_envs, self.clip_speeds, self.dt, self.generator, self.device
        )

    # ------------------------------------------------------------- gymnasium
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Any]]:
        """Put every world into a fresh state. Returns ``obs [N, O]`` and an empty info."""
        if seed is not None:
            self.generator.manual_seed(seed)
        self._reset(torch.arange(self.num_envs, device=self.device))
        return self._observation(), {}

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        """One control step with ``actions [N, D]``.

        Returns:
            ``obs [N, O]`` (of the new episode where one ended), task ``reward [N]``, ``terminated [N]``
            and ``truncated [N]`` bool, ``info`` (see the class).
        """
        targets = self.targets(actions)
        begin = time.perf_counter()
        self.simulator.step(targets)
        self.physics_seconds += time.perf_counter() - begin
        return self.judge()

    def targets(self, actions: Tensor) -> Tensor:
        """PD targets ``[N, D]`` rad that ``actions [N, D]`` stand for now. The first part of :meth:`step`."""
        targets = self.actions(torch.as_tensor(actions, dtype=torch.float32, device=self.device))
        return targets + self._next_pose() if self.reference_mode == "residual" else targets

    def judge(self) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        """What :meth:`step` returns, of a control step that the simulator has made. The last part of :meth:`step`."""
        begin = time.perf_counter()
        state = self.simulator.state()
        self.physics_seconds += time.perf_counter() - begin
        diverged = self.simulator.diverged()
        self.steps += 1
        self._play()

        frame = self.observe(state)
        lost = self.sync_free or bool(diverged.any())
        if lost:
            # the state of a world that blew up is garbage: it must reach neither reward nor network
            frame = torch.where(diverged[:, None], self.history[:, 0], frame)
            self._diverged_total += diverged.sum()
        self.history = torch.cat((frame[:, None], self.history[:, :-1]), dim=1)
        self.root_yaw = torch.where(diverged, self.root_yaw, rotation.yaw(state.root_rot))

        terms = self._rewards(state)
        if lost:  # no term of such a world may reach a mean in the log either
            terms = {name: torch.where(diverged, 0.0, term) for name, term in terms.items()}
        reward = terms["task"]
        terminated = self._fallen(state) | diverged
        truncated = (self.steps >= self.max_steps) & ~terminated
        done = terminated | truncated

        condition, reference = self._partners()
        self._look_ahead()
        info: dict[str, Any] = {
            "amp_obs": self.history.flatten(1),
            "condition": condition,
            "reference": reference,
            "final_obs": self._observation(),
            "reward_terms": terms,
            "diverged": diverged,
            "episode_steps": self.steps.clone(),
        }
        self._next_command()
        self._reset_done(done)
        return self._observation(), reward, terminated, truncated, info

    def close_extras(self, **kwargs: Any) -> None:
        """Close the simulator."""
        self.simulator.close()

    # -------------------------------------------------------- demonstrations
    def demo_obs(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Discriminator observations ``[n, H*F]`` of the clips, made by the agent's own function."""
        return self.table.histories(self.table.sample(n, generator or self.generator)).flatten(1)

    @property
    def condition_size(self) -> int:
        """Numbers ``K`` that tell the discriminator the command; 0: it knows none."""
        return 0

    @property
    def observation_slices(self) -> list[Slice]:
        """What every number of the observation means."""
        parts = self.observe.slices()
        parts += self.command.slices(self.observe.size)
        if self.reference_mode != "none":
            start = self.observe.size + self.command.size
            names = self.character.skeleton.dof_names
            parts.append(Slice("reference_joint_positions", start, start + len(names), "rad", "joint", names))
        return parts

    # -------------------------------------------------------------- internals
    def _observation(self) -> Tensor:
        parts = [self.history[:, 0], self._command_observation()]
        if self.reference_mode != "none":
            parts.append(self._next_pose())
        return torch.cat(parts, dim=1)

    def _command_observation(self) -> Tensor:
        """``[N, command.size]``."""
        observation: Tensor = self.command.observation(self.root_yaw)
        return observation

    def _next_pose(self) -> Tensor:
        """Hinge angles ``[N, D]`` of the reference one control step ahead."""
        return self.table.dofs(self.table.advance(self.playhead))[0]

    def _play(self) -> None:
        """A control step has passed for the reference."""
        if self.reference_mode != "none":
            self.playhead = self.table.advance(self.playhead)

    def _partners(self) -> tuple[Tensor, Tensor]:
        """Condition ``[N, K]`` and reference row ``[N]`` of the transition just made."""
        return torch.empty(self.num_envs, 0, device=self.device), self.playhead

    def _look_ahead(self) -> None:
        """The transition is judged; what the next observation needs besides the state may be made now."""

    def _next_command(self) -> None:
        """A control step has passed for the command."""
        self.command.advance(keep_speed=self.reference_mode != "none")

    def _rewards(self, state: MotionState) -> dict[str, Tensor]:
        speed = self.command.speed
        velocity = rewards.local_velocity(state.root_rot, state.root_vel)
        if self.reward_kind == "classic":
            task = rewards.classic(velocity, speed)
        elif self.reward_kind == "local":
            task = rewards.local(velocity, speed, self.sharpness)
        else:
            task = rewards.steering(
                state.root_vel, self.root_yaw, self.command.yaw, speed, self.sharpness, self.facing
            )
        along = (state.root_vel[:, :2] * self.command.direction()).sum(-1)
        terms = {
            "task": task,
            "speed_error": (along - speed).abs(),
            "heading_error": rotation.wrap_angle(self.command.yaw - self.root_yaw).abs(),
        }
        if self.track_reference:
            terms["tracking"] = rewards.pose_tracking(state.dof_pos, self.table.dofs(self.playhead)[0])
            terms["task"] = task * terms["tracking"]
        return terms

    def _fallen(self, state: MotionState) -> Tensor:
        heights = state.body_pos[:, self._falls[0], 2]
        return (heights < self._falls[1]).any(dim=-1)

    def _fall_heights(self, config: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Bodies and the heights below which they mean a fall: the root (the pelvis) and the head."""
        bodies = {"pelvis_height": 0, "head_height": self.character.head_id}
        for key in config:
            if key not in bodies:
                raise ConfigError(f"task.env.termination.{key} is not known; {nearest(str(key), bodies)}")
        ids = [bodies[str(key)] for key in config]
        heights = [float(value) for value in config.values()]
        return torch.tensor(ids, dtype=torch.int64, device=self.device), torch.tensor(heights, device=self.device)

    @property
    def diverged_total(self) -> int:
        """Worlds that blew up so far. Reading it waits for the device."""
        return int(self._diverged_total)

    @diverged_total.setter
    def diverged_total(self, count: int) -> None:
        self._diverged_total.fill_(count)

    def _reset_done(self, done: Tensor) -> None:
        """Worlds ``done [N]`` begin a new episode."""
        if self.sync_free:
            self._reset_where(done)
            return
        ids = done.nonzero().flatten()
        if len(ids):
            self._reset(ids)

    def _reset_where(self, done: Tensor) -> None:
        """As :meth:`_reset`, in fixed shapes."""
        size = pool_size(self.num_envs)
        turn, row = hand_out(done, size)
        rows = self._begin_at(self.table.sample(size, self.generator))
        self.simulator.reset_rows(row, self.table.reset_state(rows))  # type: ignore[attr-defined]
        taken = rows[turn]
        yaw = self._begin(done, taken)
        self.command.reset_where(done, yaw, self._first_speed(taken))

    def _begin(self, done: Tensor, taken: Tensor) -> Tensor:
        """Worlds ``done [N]`` are at rows ``taken [N]`` of the table now. Returns these rows' heading."""
        self.history = torch.where(done[:, None, None], self.table.histories(taken), self.history)
        self.steps = torch.where(done, 0, self.steps)
        self.playhead = torch.where(done, taken, self.playhead)
        yaw = self.table.yaw[taken]
        self.root_yaw = torch.where(done, yaw, self.root_yaw)
        return yaw

    def _begin_at(self, rows: Tensor) -> Tensor:
        """Rows that an episode begins at where these were drawn."""
        if self.reset_kind == "default":
            return self.table.first[self.table.clip[rows]] + (self.table.history - 1) * self.table.stride
        return rows

    def _reset(self, ids: Tensor) -> None:
        """Random state initialisation (Peng et al. 2018, DeepMimic, sec. 6), history included."""
        rows = self._begin_at(self.table.sample(len(ids), self.generator))
        state: ResetState = self.table.reset_state(rows)
        self.simulator.reset(ids, state)
        # a new tensor: info["amp_obs"] of this step is a view of the old one and must keep the last moments
        self.history = self.history.index_put((ids,), self.table.histories(rows))
        self.steps[ids] = 0
        self.playhead[ids] = rows
        yaw = self.table.yaw[rows]
        self.root_yaw[ids] = yaw
        self.command.reset(ids, yaw, self._first_speed(rows))

    def _first_speed(self, rows: Tensor) -> Tensor | None:
        """Commanded speed of a new episode, or None to draw it from the whole range.

        By default close to the speed of the clip in whose midst it starts: whoever is dropped into a
        brisk walk and told to stroll mostly falls, and learns little from it.
        """
        if self.reference_mode == "none" and self.command_start == "random":
            return None
        speed = self.clip_speeds[self.table.clip[rows]]
        if self.reference_mode == "none":
            noise = torch.rand(len(rows), generator=self.generator, device=self.device) - 0.5
            speed = (speed + 0.2 * noise).clamp(*self.command.range)
        return speed

    # ------------------------------------------------------------------ resume
    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs to go on bit for bit (if the simulator can be copied)."""
        state: dict[str, Any] = {
            "steps": self.steps.clone(),
            "playhead": self.playhead.clone(),
            "history": self.history.clone(),
            "root_yaw": self.root_yaw.clone(),
            "command": self.command.state_dict(),
            "generator": self.generator.get_state(),
            "diverged_total": self.diverged_total,
        }
        if "snapshot" in self.simulator.capabilities:
            state["simulator"] = self.simulator.snapshot()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of :meth:`state_dict`; without a simulator snapshot all worlds start afresh."""
        if state["steps"].shape != self.steps.shape:
            raise SimulatorError(
                f"the saved environment has {len(state['steps'])} worlds, this one {self.num_envs}; "
                f"resume with num_envs={len(state['steps'])}"
            )
        self.generator.set_state(state["generator"].cpu())
        self.diverged_total = int(state["diverged_total"])
        if "simulator" not in state or "snapshot" not in self.simulator.capabilities:
            self._reset(torch.arange(self.num_envs, device=self.device))
            return
        for name in ("steps", "playhead", "history", "root_yaw"):
            getattr(self, name).copy_(state[name])
        self.command.load_state_dict(state["command"])
        self.simulator.restore(state["simulator"])

    def current_observation(self) -> Tensor:
        """The observation ``[N, O]`` of the present moment, without stepping."""
        return self._observation()


def _choice(
    config: Mapping[str, Any], key: str, choices: tuple[str, ...], default: str, section: str = "task.env"
) -> str:
    value = str(config.get(key, default))
    if value not in choices:
        raise ConfigError(f"{section}.{key} '{value}' is not known; {nearest(value, choices)}")
    return value
