"""The kinematic controller: what holds for every character, every frame, every command."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.character import CharacterModel
from isaacmm.matching.controller import Controller, Leading, Numbers, Recording, Settings
from isaacmm.matching.controller.inertialization import Inertialization
from isaacmm.matching.controller.leg import FootPose, Legs
from isaacmm.matching.controller.self_penetration import SKIN, Separation, nearest_points
from isaacmm.matching.database import Database
from isaacmm.matching.opening import open_database
from isaacmm.steering import BUILTIN, Command, RandomCommands, follow


@pytest.fixture(scope="module")
def database() -> Database:
    return open_database("locomotion")


class Everything:
    """All built-in scripts at once, each begun at another moment and gone through a little faster or slower."""

    def __init__(self, num_envs: int, seed: int) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.scripts = [make() for make in BUILTIN.values()]
        self.which = torch.arange(num_envs) % len(self.scripts)
        self.offset = 12.0 * torch.rand(num_envs, generator=draw)
        self.pace = 0.8 + 0.4 * torch.rand(num_envs, generator=draw)

    def reset(self, ids: Tensor, root_pos: Tensor, root_yaw: Tensor) -> None:
        self.start = root_yaw.clone()

    def command(self, time: Tensor | float, root_pos: Tensor, root_yaw: Tensor) -> Command:
        now = self.offset + time
        velocity, facing, turn = torch.zeros_like(root_pos), root_yaw.clone(), torch.zeros_like(root_yaw)
        for i, script in enumerate(self.scripts):
            mine = self.which == i
            velocity[mine], facing[mine], turn[mine] = script.at(now[mine])
        before = [script.at(self.offset)[1] for script in self.scripts]
        begun = torch.stack(before)[self.which, torch.arange(len(self.which))]
        return Command(velocity * self.pace[:, None], self.start + facing - begun, turn)


def check(numbers: Numbers) -> None:
    assert numbers.slide_max < 1.0, numbers
    assert numbers.penetration < 2.0, numbers
    assert numbers.limits == 0.0, numbers
    assert 0.3 < numbers.locked < 0.9, numbers
    assert numbers.unheld < 0.07, numbers
    assert abs(numbers.floating) < 3.0, numbers


def test_feet_floor_and_limits_over_all_scripts(database: Database) -> None:
    controller = Controller(database, 64)
    recording = Recording(controller, controller.play(Everything(64, seed=0), 4.0))
    check(recording.numbers())
    # and it does what it is told: the scripts that clips can answer
    walking = torch.isin(torch.arange(64) % 8, torch.tensor([0, 1, 2, 3]))
    error = (recording.velocity() - recording.commanded_velocity()).norm(dim=-1)[90:, walking]
    assert float(error.mean()) < 0.25


def test_feet_floor_and_limits_under_random_commands(database: Database) -> None:
    controller = Controller(database, 32)
    frames = controller.play(RandomCommands(32, seed=5, left=0.4, seconds=(0.3, 2.0)), 3.0)
    check(Recording(controller, frames).numbers())


def test_a_foot_that_steps_to_another_place_comes_down_there(database: Database) -> None:
    """No foot that stands in its clip hangs in the air for long."""
    controller = Controller(database, 32)
    recording = Recording(controller, controller.play(RandomCommands(32, seed=8, seconds=(0.5, 2.0)), 4.0))
    hanging = controller.table.contact[recording["row"]] & ~recording["locked"]
    assert bool(hanging.any())
    longest = torch.zeros(hanging.shape[1:])
    for frame in hanging:
        longest = (longest + 1) * frame
        assert float(longest.max()) < 0.5 * 60


def test_motion_is_smooth_across_transitions(database: Database) -> None:
    """No hinge and no hip jumps at a transition: steps there are not larger than elsewhere."""
    controller = Controller(database, 16)
    recording = Recording(controller, controller.play(RandomCommands(16, seed=2), 4.0))
    steps = (recording["dof_pos"][1:] - recording["dof_pos"][:-1]).abs().amax(dim=-1)
    hips = (recording["root_pos"][1:] - recording["root_pos"][:-1]).norm(dim=-1)
    jumped = recording["jumped"][1:]
    assert int(jumped.sum()) > 20
    assert float(steps[jumped].mean()) < 2.0 * float(steps[~jumped].mean()) + 0.01
    assert float(hips.max()) < 5.0 / 60


def test_the_same_commands_give_the_same_motion(database: Database) -> None:
    runs = []
    for _ in range(2):
        controller = Controller(database, 4)
        runs.append(Recording(controller, controller.play(RandomCommands(4, seed=1), 1.0)))
    for key in runs[0].fields:
        assert torch.equal(runs[0][key], runs[1][key]), key


def test_a_path_is_followed(database: Database) -> None:
    controller = Controller(database)
    path = follow("circle", 1.2)
    recording = Recording(controller, controller.play(path, 8.0))
    error = path.error(recording["track_pos"])
    assert float(error.max()) < 0.6
    assert float(recording["track_pos"][-1].norm()) > 2.0


def test_without_leading_the_root_moves_as_the_clips_do(database: Database) -> None:
    controller = Controller(database, settings=Settings(leading=Leading(share=0.0, turning=0.0)))
    row = int(database.grid.first[[*database.library.names].index("walk_1.4")]) + 60
    zero = torch.zeros(1)
    controller.reset(torch.tensor([0]), torch.zeros(1, 2), zero, torch.tensor([row]))
    for _ in range(30):
        frame = controller.step(torch.tensor([[1.4, 0.0]]), zero, zero)
    played = int(frame.row) - row
    assert not bool(frame.jumped.any()) and played == 30
    way = (database.track.position[row + 30] - database.track.position[row]).norm()
    assert float((frame.track_pos.norm() - way).abs()) < 1e-3


def test_a_clip_of_the_result(database: Database) -> None:
    controller = Controller(database, 2)
    frames = controller.play(BUILTIN["straight"](), 0.5)
    motion = controller.motion(frames, world=1)
    assert motion.num_frames == 30 and motion.fps == pytest.approx(60.0) and motion.contacts is not None
    assert torch.allclose(motion.dof_pos(), torch.stack([f.dof_pos[1] for f in frames]), atol=1e-4)
    motion.validate()


# ------------------------------------------------------------------------------------------- parts
def test_inertialization_keeps_position_and_velocity() -> None:
    inert, dt = Inertialization(1, 1, 0.1), 1e-3

    def old(t: float) -> float:
        return 2.0 + 3.0 * t

    def new(t: float) -> float:
        return -1.0 - 0.5 * t

    shown = [torch.tensor(old(k * dt)) for k in range(10)]
    inert.jump(torch.tensor([True]), torch.tensor([[old(0.01) - new(0.01)]]), torch.tensor([[3.5]]))
    for k in range(10, 800):
        shown.append(new(k * dt) + inert.offset[0, 0])
        inert.decay(dt)
    steps = torch.stack(shown).diff()
    assert torch.allclose(steps[:11] / dt, torch.tensor(3.0), atol=0.8)
    assert float((steps.diff() / dt).abs().max()) < 0.7  # no step of the velocity
    assert abs(float(shown[-1]) - new(0.799)) < 1e-2


def test_legs_reach_what_can_be_reached_and_keep_their_limits(humanoid: CharacterModel) -> None:
    legs, draw = Legs(humanoid), torch.Generator().manual_seed(0)
    low, high = legs.low, legs.high
    home = low + (high - low) * (0.3 + 0.4 * torch.rand(200, 2, 7, generator=draw))
    root = torch.zeros(200, 3), torch.eye(3).expand(200, 3, 3)
    goal_q = (home + 0.25 * torch.randn(home.shape, generator=draw)).clamp(low, high)
    goal, _, _ = legs.forward(*root, goal_q)
    q, foot = legs.solve(*root, home, home, goal, steps=12)
    assert bool(((q >= low) & (q <= high)).all())
    error = (foot.pos - goal.pos).norm(dim=-1)
    assert float(error.quantile(0.95)) < 1e-3 and float(error.median()) < 1e-4
    far = FootPose(goal.pos + torch.tensor([2.0, 0.0, 0.0]), goal.turn)
    q, foot = legs.solve(*root, home, home, far, steps=12)
    assert bool(((q >= low) & (q <= high)).all()) and bool(torch.isfinite(foot.pos).all())


def test_feet_of_legs_agree_with_the_skeleton(humanoid: CharacterModel) -> None:
    skeleton, draw = humanoid.skeleton, torch.Generator().manual_seed(1)
    dof = torch.randn(5, skeleton.num_dofs, generator=draw) * 0.5
    rot = rotation.normalize(torch.randn(5, 4, generator=draw))
    pos = torch.randn(5, 3, generator=draw)
    body_pos, body_rot = skeleton.fk(pos, rot, skeleton.dofs_to_joint_rot(dof))
    legs = Legs(humanoid)
    foot, _, _ = legs.forward(pos, rotation.to_matrix(rot), dof[:, legs.dofs])
    assert torch.allclose(foot.pos, body_pos[:, humanoid.foot_ids], atol=1e-5)
    assert torch.allclose(foot.turn, rotation.to_matrix(body_rot[:, humanoid.foot_ids]), atol=1e-5)


def test_limbs_are_pushed_apart(humanoid: CharacterModel) -> None:
    separation, skeleton = Separation(humanoid, rounds=8), humanoid.skeleton
    dof = torch.zeros(3, skeleton.num_dofs)
    dof[0, skeleton.dof("left_shoulder_x")] = -0.45  # an arm in the trunk
    dof[0, skeleton.dof("left_elbow")] = -0.9
    dof[1, skeleton.dof("right_hip_x")] = 0.13  # a leg in the other
    pos, rot = torch.zeros(3, 3), rotation.identity(3)
    before = separation.depth(pos, rot, dof)
    assert float(before[1]) > 0.01 and float(before[2]) < 0.0
    standing = torch.tensor([[False, False], [False, True], [False, False]])
    after = separation(pos, rot, dof, standing)
    depth = separation.depth(pos, rot, after)
    assert float(depth.max()) < SKIN + 0.003
    assert torch.equal(after[2], dof[2])
    left = [d for d, name in enumerate(skeleton.dof_names) if name.startswith("left_hip")]
    assert torch.equal(after[1, left], dof[1, left])  # the leg that stands keeps still


def test_nearest_points_of_segments() -> None:
    draw = torch.Generator().manual_seed(3)
    p0, p1, q0, q1 = torch.randn(4, 50, 3, generator=draw)
    q1[:5] = q0[:5]  # a point
    a, b = nearest_points(p0, p1, q0, q1)
    s = torch.linspace(0, 1, 60)
    grid_p = p0[:, None] + s[:, None] * (p1 - p0)[:, None]
    grid_q = q0[:, None] + s[:, None] * (q1 - q0)[:, None]
    brute = (grid_p[:, :, None] - grid_q[:, None]).norm(dim=-1).amin(dim=(1, 2))
    assert bool(((a - b).norm(dim=-1) <= brute + 1e-5).all())
    assert float((brute - (a - b).norm(dim=-1)).max()) < 0.03
