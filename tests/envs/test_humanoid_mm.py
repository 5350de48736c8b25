"""HumanoidMM: commands, twins and demonstrations as the policy and the discriminator meet them."""

from __future__ import annotations

import io
import math
from functools import lru_cache
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor

from isaacmm import rotation
from isaacmm.amp.leak import probe
from isaacmm.envs.demonstrations import SAMPLERS
from isaacmm.envs.humanoid_mm import PHASES, HumanoidMM
from isaacmm.envs.locomotion_command import modes_from_config
from isaacmm.errors import ConfigError
from isaacmm.matching.database import Database
from isaacmm.motion.library import MotionLibrary
from isaacmm.paths import data_folder
from isaacmm.sim.simulator import Simulator
from isaacmm.steering import Command, CommandScript, Step
from tests.helpers import PuppetSimulator, character, made_up_walk, mujoco

torch.set_num_threads(1)

N = 8
WALK = {"forward": [0.8, 1.6], "turn": [-0.5, 0.5], "straight": 0.3}


@lru_cache
def clips() -> MotionLibrary:
    """Walks of three speeds, straight and turning to both sides."""
    made = [
        made_up_walk(speed, turn, 2.5, name=f"walk_{speed}_{turn:+}")
        for speed in (0.8, 1.2, 1.6) for turn in (-0.5, 0.0, 0.5)
    ]  # fmt: skip
    return MotionLibrary(made, character().skeleton)


def make(num_envs: int = N, seed: int = 3, simulator: Simulator | None = None, **changes: Any) -> HumanoidMM:
    """The environment with made-up clips, on the puppet unless another simulator is given."""
    config = OmegaConf.load(data_folder("cfg") / "task" / "HumanoidMM.yaml").env
    config.action, config.dof_observation = "radians", "angles"
    config.command.modes = {"walk": WALK}
    for key, value in changes.items():
        OmegaConf.update(config, key.replace("__", "."), value, merge=False)
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return HumanoidMM(plain, simulator or PuppetSimulator(num_envs), clips(), character(), seed)


def run(env: HumanoidMM, steps: int, seed: int) -> Tensor:
    """Everything that comes out of ``steps`` random steps, in one row of numbers."""
    g, out = torch.Generator().manual_seed(seed), []
    for _ in range(steps):
        action = 0.3 * torch.randn(env.num_envs, 28, generator=g)
        obs, reward, terminated, truncated, info = env.step(action)
        real, condition = env.paired_demos(info["condition"], info["reference"], env.generator)
        out += [obs, reward, terminated.float(), truncated.float(), info["amp_obs"], info["final_obs"], real]
        out += [condition, info["condition"], info["reference"].float(), *info["reward_terms"].values()]
    return torch.cat([part.flatten() for part in out])


# -------------------------------------------------------------------------------- what is observed


@pytest.mark.parametrize("reference", ["none", "observe", "residual"])
def test_observation_layout(reference: str) -> None:
    env = make(reference=reference)
    obs, _ = env.reset()
    obs, *_ = env.step(torch.zeros(N, 28))
    assert obs.shape == (N, env.observation_size) and bool(torch.isfinite(obs).all())
    at = {part.name: slice(part.start, part.stop) for part in env.observation_slices}
    ends = [0, *(part.stop for part in env.observation_slices)]
    assert [part.start for part in env.observation_slices] == ends[:-1] and ends[-1] == env.observation_size
    assert all(len(p.items) == p.stop - p.start == 6 for p in env.observation_slices if p.name.startswith("future"))
    told = torch.cat((obs[:, at["future_position"]], obs[:, at["future_facing"]]), dim=1)
    assert torch.equal(told, env.condition) and told.shape == (N, 12) == (N, env.condition_size)
    if reference != "none":
        assert env.twin_pose is not None
        assert torch.equal(obs[:, at["reference_joint_positions"]], env.twin_pose.dofs(env.reference))


def test_the_condition_is_the_predicted_path_in_the_database_scale() -> None:
    env = make()
    env.reset()
    for _ in range(5):
        env.step(torch.zeros(N, 28))
    position, facing = env.command.predict(env.root_yaw)
    torch.testing.assert_close(env.condition, env.database.condition(position, facing), rtol=0, atol=0)
    start = env.database.spec.pose_size
    raw = env.condition * env.database.scale[start:] + env.database.offset[start:]
    torch.testing.assert_close(raw[:, :6], position.flatten(1), rtol=0, atol=1e-5)
    torch.testing.assert_close(raw[:, 6:], facing.flatten(1), rtol=0, atol=1e-5)


def test_a_clip_asks_for_itself() -> None:
    """What a row of a steady clip goes on to do is the condition of being told to do just that."""
    env = make()
    d = env.database
    rows = torch.arange(len(d))
    rows = rows[(d.rows_left(rows) > 70) & (rows - d.grid.first[d.grid.clip] > 30)][::23]
    position, facing = env.command.steady(d.velocity[rows], d.turn_rate[rows])
    # a quarter of the spread of the clips; made-up walks sway, and the smooth track does not follow all of it
    assert float((d.condition(position, facing) - d.trajectory[rows]).abs().mean()) < 0.25


def test_info_tells_of_the_transition_not_of_the_episode_after_it() -> None:
    sim = PuppetSimulator(N)
    env = make(simulator=sim, episode_seconds=1.0)
    env.reset()
    ended = 0
    for t in range(40):
        condition, reference = env.condition.clone(), env.reference.clone()
        if t % 7 == 3:  # half of the worlds fall
            low = torch.full((N, 3), 0.9)
            low[::2, 2] = 0.2
            sim.put(root_pos=low)
        _, _, terminated, truncated, info = env.step(torch.zeros(N, 28))
        assert torch.equal(info["condition"], condition)
        assert torch.equal(info["reference"], reference)
        done = terminated | truncated
        ended += int(done.sum())
        if bool(done.any()):
            assert not torch.equal(env.condition[done], condition[done])
        # the last observation of an episode is that of a world that goes on, command included
        layout = slice(env.observe.size, env.observe.size + 12)
        if bool((~done).any()):
            assert torch.equal(info["final_obs"][~done][:, layout], env.condition[~done])
        if bool(done.any()):
            gap = (info["final_obs"][done][:, layout] - condition[done]).norm(dim=1)
            assert float(gap.median()) < 1.0  # a control step on, not another command
    assert ended > N
    kept = info["condition"].clone(), info["reference"].clone(), info["amp_obs"].clone()
    env.step(torch.zeros(N, 28))
    env.reset()
    for name, value in zip(("condition", "reference", "amp_obs"), kept, strict=True):
        assert torch.equal(info[name], value), f"{name} was changed afterwards"


# --------------------------------------------------------------------------------- demonstrations


@pytest.mark.parametrize("frames", [2, 5])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_windows_stay_within_their_clip(sampler: str, frames: int) -> None:
    env = make(demo_sampler=sampler, amp_frames=frames, episode_seconds=2.0)
    env.reset()
    g = torch.Generator().manual_seed(1)
    for _ in range(90):
        _, _, _, _, info = env.step(0.2 * torch.randn(N, 28, generator=g))
        rows, condition = env.demos(info["condition"], info["reference"], g)
        oldest = rows - (frames - 1) * PHASES
        assert torch.equal(env.table.clip[oldest], env.table.clip[rows])
        assert bool((oldest >= env.table.first[env.table.clip[rows]]).all())
        assert condition.shape == (N, 12)
        if sampler.startswith("matched"):
            assert torch.equal(rows, info["reference"]) and torch.equal(condition, info["condition"])
        elif sampler == "hindsight":
            assert torch.equal(condition, env.database.trajectory[rows])
        else:
            assert torch.equal(condition, info["condition"])


def test_table_and_database_share_their_rows() -> None:
    env = make()
    for name in ("first", "count", "clip"):
        assert torch.equal(getattr(env.table, name), getattr(env.database.grid, name)), name


def test_stratified_shows_rare_motion_as_often() -> None:
    """Rows of the one slow clip of six come as often as those of all the others."""
    many = [made_up_walk(1.6, 0.0, 2.0, name=f"fast_{i}") for i in range(5)]
    many.append(made_up_walk(0.4, 0.0, 2.0, name="slow"))
    config = OmegaConf.to_container(OmegaConf.load(data_folder("cfg") / "task" / "HumanoidMM.yaml").env, resolve=True)
    assert isinstance(config, dict)
    config |= {"action": "radians", "dof_observation": "angles", "demo_sampler": "stratified"}
    config["command"]["modes"] = {"walk": WALK}
    env = HumanoidMM(config, PuppetSimulator(2), MotionLibrary(many, character().skeleton), character(), 1)
    rows = env.demos.rows(4000, torch.Generator().manual_seed(0))
    slow = float((env.database.velocity[rows].norm(dim=-1) < 1.0).float().mean())
    assert slow > 0.35


def test_the_condition_leaks_nothing_unless_clips_bring_their_own() -> None:
    """Matched demonstrations under the test; hindsight under a mix of commands that is not the clips'."""
    for sampler in ("matched_twin", "matched_state", "uniform", "stratified", "hindsight"):
        env = make(32, demo_sampler=sampler, command__modes={"walk": {"forward": [1.4, 1.8], "turn": [-0.2, 0.2]}})
        env.reset()
        conditions, references = [], []
        for _ in range(30):
            _, _, _, _, info = env.step(torch.zeros(32, 28))
            conditions.append(info["condition"])
            references.append(info["reference"])
        told, reference = torch.cat(conditions), torch.cat(references)

        def draw(
            g: torch.Generator, env: HumanoidMM = env, told: Tensor = told, reference: Tensor = reference
        ) -> tuple[Tensor, Tensor]:
            real, fake = (torch.randint(len(told), (256,), generator=g) for _ in range(2))
            return env.paired_demos(told[real], reference[real], g)[1], told[fake]

        leak = probe(draw, samples=2048, steps=60)
        if sampler == "hindsight":
            assert leak.low > 0.6, (sampler, leak)
        else:
            assert abs(leak.accuracy - 0.5) < 0.035, (sampler, leak)  # four standard errors


# ------------------------------------------------------------------------------------------ resets


def test_an_episode_begins_in_a_state_that_does_what_is_told() -> None:
    env = make(64)
    env.reset()
    rows, d = env.playhead, env.database
    told, turn = env.command.velocity, env.command.turn_rate
    assert float((d.velocity[rows] - told).norm(dim=-1).mean()) < 0.25
    assert float((d.turn_rate[rows] - turn).abs().mean()) < 0.15
    assert float(told[:, 0].std()) > 0.15 and float(turn.std()) > 0.2  # and the commands differ
    torch.testing.assert_close(env.command.spring.velocity, told)
    facing = rotation.wrap_angle(env.command.yaw - env.root_yaw).abs()
    assert float(facing.max()) < 0.35  # the hips sway about where the walk is going
    assert bool(d.valid[rows].all())
    assert len(set(rows.tolist())) > 30  # not always the same best moment
    assert torch.equal(env.reference - rows, torch.where(d.rows_left(rows) >= PHASES, PHASES, 0))


def test_default_reset_begins_where_clips_begin() -> None:
    env = make(16, reset="default")
    env.reset()
    assert torch.equal(env.playhead, env.table.first[env.table.clip[env.playhead]] + (env.amp_frames - 1) * PHASES)


def test_same_seed_same_trajectory() -> None:
    one, two, other = (make(simulator=PuppetSimulator(N), seed=seed) for seed in (3, 11, 3))
    for env, seed in ((one, 5), (two, 5), (other, 6)):
        env.reset(seed=seed)
    a, b, c = (run(env, 25, seed=1) for env in (one, two, other))
    assert torch.equal(a, b) and not torch.equal(a, c)
    one.reset(seed=5)  # whatever happened before
    assert torch.equal(run(one, 25, seed=1), a)


# ---------------------------------------------------------------------------------------- commands


class Wanted:
    """Somebody with one wish."""

    def __init__(self, velocity: tuple[float, float], facing: float, turn: float = 0.0) -> None:
        self.wish = velocity, facing, turn

    def command(self, time: Tensor | float, root_pos: Tensor, root_yaw: Tensor) -> Command:
        velocity, facing, turn = self.wish
        n = len(root_yaw)
        facings = torch.as_tensor(facing + turn * time, dtype=torch.float32).expand(n)
        return Command(torch.tensor(velocity).repeat(n, 1), facings, torch.full((n,), turn))


def test_the_leash_waits_for_who_lags() -> None:
    """Turning on while the character does not: the facing stays a leash ahead; without one it goes on."""
    ahead = {}
    for leash in (0.5, 0.0):
        modes = {"walk": {"forward": [1.0, 1.0], "turn": [1.0, 1.0]}}
        env = make(command__leash=leash, command__within_clips=False, command__modes=modes)
        env.reset()
        for _ in range(45):
            env.step(torch.zeros(N, 28))  # puppets never turn
        stood = env.steps == 45
        assert bool(stood.any())
        facings = torch.stack((env.command.yaw, env.command.spring.yaw))[:, stood]
        ahead[leash] = rotation.wrap_angle(facings - env.root_yaw[stood])
    assert 0.4 < float(ahead[0.5].min()) <= float(ahead[0.5].max()) <= 0.5 + 1e-5
    assert float(ahead[0.0][0].min()) > 1.2


def test_a_source_is_obeyed_from_the_first_moment() -> None:
    env = make(16)
    env.command.source = Wanted((1.2, 0.0), 0.3, 0.4)
    env.reset()
    assert torch.equal(env.command.velocity, torch.tensor([1.2, 0.0]).repeat(16, 1))
    assert env.command.turn_rate.tolist() == pytest.approx([0.4] * 16)
    assert env.command.yaw.tolist() == pytest.approx([0.3] * 16)
    rows = env.playhead
    assert float((env.database.velocity[rows] - env.command.velocity).norm(dim=-1).mean()) < 0.25
    assert float((env.database.turn_rate[rows] - 0.4).abs().mean()) < 0.2
    for t in range(1, 60):
        env.step(torch.zeros(16, 28))
        if bool((env.steps == t).all()):  # nobody fell
            assert env.command.yaw.tolist() == pytest.approx([0.3 + 0.4 * t / 30] * 16, abs=1e-4)
    # the spring has caught up with a goal that turns evenly, and is where it is now, not a step behind or ahead
    alive = env.steps == 59
    gap = rotation.wrap_angle(env.command.spring.yaw - env.command.yaw)[alive]
    assert float(gap.abs().max()) < 2e-3


def test_scripts_count_from_where_each_character_begins() -> None:
    env = make(4)
    env.command.source = CommandScript([Step(0.0, 1.2), Step(0.5, 1.2, facing=60.0)], 2.0)
    env.reset()
    start = rotation.wrap_angle(env.database.track.yaw[env.playhead])
    torch.testing.assert_close(env.command.yaw, start)
    for _ in range(15):
        env.step(torch.zeros(4, 28))
    alive = env.steps == 15
    turned = rotation.wrap_angle(env.command.yaw - start)[alive]
    assert turned.tolist() == pytest.approx([math.pi / 3] * int(alive.sum()), abs=1e-4)


def tagged(*tags: str) -> Database:
    """Of one clip per tag."""
    motions = [made_up_walk(1.0, 0.0, 1.0, name=tag) for tag in tags]
    for motion, tag in zip(motions, tags, strict=True):
        motion.tags = (tag,)
    return Database(MotionLibrary(motions, character().skeleton), character())


def test_modes_without_clips_are_left_out() -> None:
    config = {
        "walk": {"weight": 2, "tags": ["walk"], "forward": [0.6, 1.8]},
        "run": {"tags": ["run", "sprint"], "forward": [2.0, 3.0]},
        "stand": {},
        "hop": {"weight": 0, "tags": ["hop"]},
        "free": {"forward": [0, 1]},
    }
    kept, absent = modes_from_config(config, tagged("walk", "sprint"))
    assert [mode.name for mode in kept] == ["walk", "run", "free"] and absent == []
    kept, absent = modes_from_config(config, tagged("idle"))
    assert [mode.name for mode in kept] == ["free"] and absent == ["walk", "run"]
    with pytest.raises(ConfigError, match="no mode is left"):
        make(command__modes={"walk": {"forward": [0, 1], "tags": ["moonwalk"]}})


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ({"forwards": [0, 1]}, r"modes.walk.forwards is not known; did you mean 'forward'"),
        ({"name": "x"}, r"modes.walk.name is not known"),
        ({"turn": [1, -1]}, r"modes.walk.turn"),
        ({"forward": 1.0}, r"modes.walk.forward"),
        ({"weight": -1}, "weight is at least 0"),
        ({"straight": 1.5}, "straight a share from 0 to 1"),
    ],
)
def test_wrong_modes_are_refused(mode: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        modes_from_config({"walk": mode}, tagged("walk"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"demo_sampler": "matched"}, "demo_sampler 'matched' is not known; did you mean 'matched_"),
        ({"reset": "random"}, "reset 'random' is not known"),
        ({"matching__weights": {"foot_positions": 1.0}}, "did you mean 'foot_position'"),
        ({"matching__search": "bruteforce"}, "search 'bruteforce' is not known; did you mean 'brute'"),
    ],
)
def test_wrong_settings_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**change)


# ------------------------------------------------------------------------------------------- twins


def test_the_twins_pose_has_no_jumps() -> None:
    by_path = {"foot_position": 0.0, "foot_velocity": 0.0, "hip_velocity": 0.0}  # any pose will do
    env = make(
        reference="observe", command__resample_seconds=[0.3, 0.6], episode_seconds=20.0, matching__weights=by_path
    )
    env.reset()
    assert env.twin_pose is not None
    before, plain, jumps, steps, leaps = env.twin_pose.dofs(env.reference), env.table.dofs(env.reference)[0], 0, [], []
    for _ in range(150):
        alive = env.steps.clone()
        env.step(torch.zeros(N, 28))
        same = env.steps == alive + 1  # not begun anew
        now, bare = env.twin_pose.dofs(env.reference), env.table.dofs(env.reference)[0]
        steps.append((now - before).abs().amax(1)[same])
        leaps.append((bare - plain).abs().amax(1)[same])
        jumps += int((env.twins.jumped & same).sum())
        before, plain = now, bare
    assert jumps > 20
    usual = float(env.table.dofs(torch.arange(len(env.table)))[1].abs().max()) * env.dt
    moved, bare = torch.cat(steps), torch.cat(leaps)
    leapt = bare > 3 * usual  # what the clips themselves do where the twin jumps
    assert int(leapt.sum()) > 5
    assert float(moved[leapt].mean()) < 0.6 * float(bare[leapt].mean())
    assert float(moved.max()) < 4 * usual  # a jump fades by at most a sixth of it in a step


def test_a_twin_at_the_end_of_its_clip_goes_elsewhere() -> None:
    """Told the same for long, it plays on and on: never the same row twice running, never the same few."""
    env = make(16)
    env.reset()
    condition = env.condition.clone()
    seen = torch.stack([env.twins.step(condition).clone() for _ in range(240)])
    assert not bool((seen[1:] == seen[:-1]).any())
    for world in range(16):
        late = seen[120:, world]
        assert int(late.max() - late.min()) > 2 * env.twins.near, f"world {world} treads on the spot"
    assert bool((env.database.rows_left(seen) >= 0).all())


def test_modes_may_be_answered_by_their_own_clips_only() -> None:
    tagged = [made_up_walk(v, 0.0, 2.5, name=f"{n}_{i}") for i in range(2) for n, v in (("calm", 1.0), ("odd", 1.1))]
    for motion in tagged:
        motion.tags = (motion.name.split("_")[0],)
    config = OmegaConf.to_container(OmegaConf.load(data_folder("cfg") / "task" / "HumanoidMM.yaml").env, resolve=True)
    assert isinstance(config, dict)
    config |= {"action": "radians", "dof_observation": "angles"}
    walk = {"forward": [0.9, 1.2], "tags": ["calm"]}
    config["command"]["modes"] = {"calm": walk | {"clips": ["calm"]}, "any": walk}
    config["command"]["within_clips"] = False  # the calm clips alone would not let anybody ask for the odd ones
    env = HumanoidMM(config, PuppetSimulator(64), MotionLibrary(tagged, character().skeleton), character(), 1)
    env.reset()
    odd = torch.tensor([name.startswith("odd") for name in env.library.names])
    for _ in range(30):
        env.step(torch.zeros(64, 28))
        restarted = env.steps == 0
        answered = odd[env.table.clip[env.reference]]
        asked = env.twins.jumped & ~restarted & (env.command.mode == 0)
        assert not bool(answered[asked].any())
    assert bool(answered[env.command.mode == 1].any())
    env.command.source = Wanted((1.1, 0.0), 0.0)  # steered: any clip, whatever mode was drawn before
    env.reset()
    for _ in range(30):
        env.step(torch.zeros(64, 28))
    assert bool(odd[env.table.clip[env.reference]][env.command.mode == 0].any())


# ------------------------------------------------------------------------------------------ resume


@pytest.mark.parametrize(
    ("reference", "sampler"),
    [*(("none", sampler) for sampler in SAMPLERS), ("observe", "matched_twin"), ("residual", "matched_twin")],
)
def test_bit_for_bit(reference: str, sampler: str) -> None:
    settings: dict[str, Any] = {
        "reference": reference,
        "demo_sampler": sampler,
        "command__resample_seconds": [0.2, 0.5],
        "episode_seconds": 1.0,
        "amp_frames": 3,
    }
    env = make(4, 3, mujoco(4), **settings)
    env.reset()
    run(env, 20, seed=1)  # falls, time-outs, jumps and new commands behind it
    file = io.BytesIO()
    torch.save(env.state_dict(), file)
    seen = env.current_observation().clone()
    expected = run(env, 35, seed=2)
    other = make(4, 99, mujoco(4), **settings)
    other.reset()
    run(other, 3, seed=5)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other.current_observation(), seen)
    assert torch.equal(run(other, 35, seed=2), expected)
    env.close()
    other.close()


def test_a_reference_that_jumps_all_the_time_is_refused() -> None:
    with pytest.raises(ConfigError, match="use matched_twin"):
        make(demo_sampler="matched_state", reference="residual")
