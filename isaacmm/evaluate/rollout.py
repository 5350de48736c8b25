"""Rollout: what a policy did in all worlds at once, recorded for metrics, films and BVH."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.character import CharacterModel
from isaacmm.envs.humanoid_amp import HumanoidAMP
from isaacmm.envs.humanoid_mm import HumanoidMM
from isaacmm.errors import ConfigError
from isaacmm.evaluate import ghost
from isaacmm.learn.policy import Policy
from isaacmm.motion.clip import Motion

#: A foot that carries less than this is in the air (N); a step of the walk peaks near 500.
CONTACT_FORCE = 10.0
#: Without measured forces a foot is on the ground while its lowest point is below this (m).
CONTACT_HEIGHT = 0.02


@dataclass(eq=False)
class Rollout:
    """``N`` worlds over ``T`` control steps. World frame, z up, SI, quaternions xyzw.

    Frame ``t`` is the state in which the policy chose action ``t``; the state that ended an episode
    is not kept (the world has been reset by then), so frames of one episode are always continuous.

    Attributes:
        character: who moved.
        fps: frames per second (the control rate).
        root_pos, root_rot, dof_pos: ``[T, N, 3]`` m, ``[T, N, 4]``, ``[T, N, D]`` rad.
        command: ``direction [T, N, 2]`` unit vector on the ground, ``speed [T, N]`` m/s. Of HumanoidMM besides
            (:class:`~isaacmm.envs.locomotion_command.LocomotionCommand`): ``velocity`` and ``goal_velocity
            [T, N, 2]`` m/s (forward, left of the commanded facing; what the spring has reached, and what it goes
            for), ``facing`` and ``goal_facing [T, N]`` rad, world, likewise, ``turn_rate [T, N]`` rad/s,
            ``condition [T, N, 4K]``, and what that means: ``future_position`` m and ``future_facing
            [T, N, K, 2]`` in the heading frame.
        done: ``[T, N]`` bool, the episode ended with this frame.
        contact: ``[T, N, F]`` bool, the foot touches the ground.
        reward: name -> ``[T, N]``, of the step that begins in this frame.
        survival: ``[W]`` s until the first fall, at most ``T / fps``; of *all* worlds recorded, also
            of those whose frames were not kept.
        twin: of HumanoidMM, the clip moment that answers the command: ``row [T, N]`` int64 of the transition that
            begins in this frame, and the pose in this frame (jumps faded): ``height [T, N]`` m, ``tilt [T, N, 4]``
            the root's rotation without the heading, ``dof_pos [T, N, D]`` rad.
        script: name of what steered the worlds; empty where chance did. Then only each world's first episode
            counts: who falls has left the script.
        path: ``[N, M, 2]`` m, the line on the ground that each world was to follow, if there was one.
    """

    character: CharacterModel
    fps: float
    root_pos: Tensor
    root_rot: Tensor
    dof_pos: Tensor
    command: dict[str, Tensor]
    done: Tensor
    contact: Tensor
    reward: dict[str, Tensor] = field(default_factory=dict)
    survival: Tensor = field(default_factory=lambda: torch.zeros(0))
    twin: dict[str, Tensor] = field(default_factory=dict)
    script: str = ""
    path: Tensor | None = None

    @property
    def num_frames(self) -> int:
        """``T``."""
        return self.root_pos.shape[0]

    @property
    def num_worlds(self) -> int:
        """``N``."""
        return self.root_pos.shape[1]

    @property
    def seconds(self) -> float:
        """Recorded time."""
        return self.num_frames / self.fps

    @property
    def episode(self) -> Tensor:
        """``[T, N]`` int64: number of the episode a frame belongs to, from 0 in each world."""
        ended = torch.cumsum(self.done.long(), dim=0)
        return torch.cat((torch.zeros_like(ended[:1]), ended[:-1]))

    def segment(self, world: int) -> tuple[int, int]:
        """First frame and end (not included) of the longest episode of ``world``, the earliest of equals.

        Of a steered world, the first episode.
        """
        ends = (self.done[:, world].nonzero().flatten() + 1).tolist()
        if self.script:
            return 0, [*ends, self.num_frames][0]
        bounds = [0, *ends]
        if bounds[-1] != self.num_frames:
            bounds.append(self.num_frames)
        return max(pairwise(bounds), key=lambda pair: pair[1] - pair[0])

    def motion(self, world: int, name: str = "") -> Motion:
        """The longest unbroken piece of what ``world`` did, as a clip; root motion included."""
        start, stop = self.segment(world)
        part = slice(start, stop)
        return Motion.from_dofs(
            self.character.skeleton,
            self.root_pos[part, world],
            self.root_rot[part, world],
            self.dof_pos[part, world],
            self.fps,
            name or f"world_{world}",
            contacts=self.contact[part, world],
        )

    def piece(self, start: int, stop: int) -> Rollout:
        """Frames ``start`` to ``stop`` (not included) by themselves."""
        part = slice(start, stop)

        def cut(values: dict[str, Tensor]) -> dict[str, Tensor]:
            return {name: value[part] for name, value in values.items()}

        return replace(
            self,
            root_pos=self.root_pos[part],
            root_rot=self.root_rot[part],
            dof_pos=self.dof_pos[part],
            command=cut(self.command),
            done=self.done[part],
            contact=self.contact[part],
            reward=cut(self.reward),
            twin=cut(self.twin),
        )

    def worlds_to_show(self, count: int) -> list[int]:
        """``count`` worlds that are typical: spread evenly over the order of how long they survived."""
        count = min(count, self.num_worlds)
        order = torch.argsort(self.survival[: self.num_worlds], descending=True, stable=True)
        picks = torch.linspace(0, self.num_worlds - 1, 2 * count + 1)[1::2].round().long()
        return order[picks].tolist()


@torch.no_grad()
def record(
    env: HumanoidAMP,
    policy: Policy,
    seconds: float,
    *,
    deterministic: bool = True,
    keep: int | None = None,
    seed: int | None = None,
    style: Callable[[Tensor, Tensor], Tensor] | None = None,
    stopped: Callable[[], bool] = lambda: False,
    once: bool = False,
) -> Rollout:
    """Play ``policy`` in fresh episodes of all worlds of ``env``.

    Args:
        env: its simulator should measure contact forces (``make_env(..., contact_force=True)``);
            without them contacts are told by height.
        policy: what acts.
        seconds: how long.
        deterministic: the policy's mean action; False: with the noise it was trained with.
        keep: keep the frames of so many worlds (the first ones); None keeps all. Survival is measured
            in all worlds either way.
        seed: of starting states, commands and noise; None goes on with the environment's own.
        style: discriminator of observations and conditions; its logits of every transition are kept as reward
            ``style_logit``.
        stopped: asked before every step; True ends the recording early.
        once: end as soon as no world is in its first episode any more.

    Raises:
        ConfigError: observation sizes of policy and environment differ, or not a single step.
    """
    steps = round(seconds / env.dt)
    if steps < 1:
        raise ConfigError(f"{seconds} s is less than one control step of {env.dt:.3f} s")
    if policy.observation_size != env.observation_size:
        raise ConfigError(
            f"the policy takes {policy.observation_size} numbers, the environment gives "
            f"{env.observation_size}; they belong to different task settings"
        )
    n = env.num_envs if keep is None else min(keep, env.num_envs)
    recorder = _Recorder(env, steps, n)
    policy = policy.to(env.device)
    noise = None
    if not deterministic:
        noise = torch.Generator(env.device)
        noise.manual_seed(env.generator.initial_seed() if seed is None else seed)
    obs, _ = env.reset(seed=seed)
    survived = torch.full((env.num_envs,), float(steps), device=env.device)
    made = 0
    for t in range(steps):
        if stopped():
            break
        recorder.before(t)
        action = policy(obs) if deterministic else policy.sample(obs, noise)
        obs, _, terminated, truncated, info = env.step(action)
        first = terminated & (survived == steps)
        survived = torch.where(first, torch.full_like(survived, t + 1.0), survived)
        terms = dict(info["reward_terms"])
        if style is not None:
            terms["style_logit"] = style(info["amp_obs"], info["condition"])
        recorder.after(t, terminated | truncated, terms)
        made = t + 1
        if once and recorder.all_ended(made):
            break
    if made == 0:
        raise ConfigError("stopped before the first step of the recording")
    return recorder.rollout(made, survived.clamp(max=made) * env.dt)


class _Recorder:
    """Buffers on the CPU, filled one frame at a time."""

    def __init__(self, env: HumanoidAMP, steps: int, n: int) -> None:
        dofs, feet = env.character.skeleton.num_dofs, len(env.character.feet)
        self.env, self.n = env, n
        self.measured = "contact_force" in env.simulator.capabilities
        self.root_pos, self.root_rot = torch.zeros(steps, n, 3), torch.zeros(steps, n, 4)
        self.dof_pos = torch.zeros(steps, n, dofs)
        self.command: dict[str, Tensor] = {}
        self.row = torch.zeros(steps, n, dtype=torch.int64)
        self.done = torch.zeros(steps, n, dtype=torch.bool)
        self.contact = torch.zeros(steps, n, feet, dtype=torch.bool)
        self.reward: dict[str, Tensor] = {}

    def before(self, t: int) -> None:
        """The state and command that action ``t`` answers."""
        state, n = self.env.simulator.state(), self.n
        self.root_pos[t] = state.root_pos[:n]
        self.root_rot[t] = state.root_rot[:n]
        self.dof_pos[t] = state.dof_pos[:n]
        for name, value in self._commands().items():
            self._keep(self.command, name, t, value)
        if isinstance(self.env, HumanoidMM):
            self.row[t] = self.env.reference[:n]
        if self.measured and state.contact_force is not None:
            self.contact[t] = state.contact_force[:n, self.env.character.foot_ids, 2] > CONTACT_FORCE
        else:
            sole = self.env.character.sole_points(state.body_pos[:n], state.body_rot[:n])
            self.contact[t] = sole[..., 2].amin(-1) < CONTACT_HEIGHT

    def after(self, t: int, done: Tensor, terms: dict[str, Tensor]) -> None:
        """How step ``t`` went."""
        self.done[t] = done[: self.n]
        for name, value in terms.items():
            self._keep(self.reward, name, t, value)

    def all_ended(self, steps: int) -> bool:
        """Whether every world's first episode ended within the first ``steps`` frames."""
        return bool(self.done[:steps].any(0).all())

    def rollout(self, steps: int, survival: Tensor) -> Rollout:
        """What was recorded in the first ``steps`` frames."""
        fresh = torch.cat((torch.ones_like(self.done[:1]), self.done[:-1]))[:steps]
        if self.measured and steps > 1:
            # nothing has been measured yet in the first frame of an episode: take the second's
            first = fresh[: steps - 1]
            self.contact[: steps - 1][first] = self.contact[1:steps][first]
        command = {name: value[:steps] for name, value in self.command.items()}
        twin: dict[str, Tensor] = {}
        if isinstance(self.env, HumanoidMM):
            command |= ghost.futures(self.env.database, command["condition"])
            twin = ghost.poses(self.env, self.row[:steps], fresh)
        return Rollout(
            character=self.env.character.to("cpu"),
            fps=1.0 / self.env.dt,
            root_pos=self.root_pos[:steps],
            root_rot=self.root_rot[:steps],
            dof_pos=self.dof_pos[:steps],
            command=command,
            done=self.done[:steps],
            contact=self.contact[:steps],
            reward={name: value[:steps] for name, value in self.reward.items()},
            survival=survival.cpu(),
            twin=twin,
        )

    def _commands(self) -> dict[str, Tensor]:
        command = self.env.command
        told = {"direction": command.direction(), "speed": command.speed}
        if isinstance(self.env, HumanoidMM):
            told |= {
                "velocity": command.spring.velocity,
                "goal_velocity": command.velocity,
                "facing": command.spring.yaw,
                "goal_facing": rotation.wrap_angle(command.yaw),
                "turn_rate": command.turn_rate,
                "condition": self.env.condition,
            }
        return told

    def _keep(self, store: dict[str, Tensor], name: str, t: int, value: Tensor) -> None:
        if name not in store:
            store[name] = torch.zeros(len(self.done), self.n, *value.shape[1:])
        store[name][t] = value[: self.n]
