"""Retargeting: known truth put on foreign skeletons and brought back, recorded clips, maps, feet, limits."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from isaacmm import paths, rotation
from isaacmm.character import CharacterModel
from isaacmm.errors import ConfigError, MotionError
from isaacmm.motion.clip import Motion
from isaacmm.motion.contacts import feet_of, mean_slide
from isaacmm.motion.findings import spikes
from isaacmm.motion.retarget import anatomy, detect, retarget, role_maps
from isaacmm.motion.retarget.feet import lower_hips, plant, segments
from isaacmm.motion.retarget.ik import Point, reach, two_bone
from isaacmm.motion.retarget.roles import load_map
from isaacmm.skeleton import Skeleton

STUDIO = {  # a studio's names -> (body of the humanoid that it moves with, parent, where it is in that body)
    "Hips": ("pelvis", None, None),
    "Spine": ("pelvis", "Hips", (0.0, 0.0, 0.1)),
    "Spine1": ("pelvis", "Spine", (0.0, 0.0, 0.18)),
    "Spine2": ("torso", "Spine1", (0.0, 0.0, 0.0)),
    "Neck": ("torso", "Spine2", (0.0, 0.0, 0.2)),
    "Head": ("head", "Neck", (0.0, 0.0, 0.0)),
    **{
        name.format(s=side.capitalize()): (body and body.format(s=side), parent.format(s=side.capitalize()), place)
        for side in ("left", "right")
        for name, body, parent, place in (
            ("{s}Shoulder", "torso", "Spine2", (0.0, 0.05 if side == "left" else -0.05, 0.2)),
            ("{s}Arm", "{s}_upper_arm", "{s}Shoulder", (0.0, 0.0, 0.0)),
            ("{s}ForeArm", "{s}_lower_arm", "{s}Arm", (0.0, 0.0, 0.0)),
            ("{s}Hand", "{s}_hand", "{s}ForeArm", (0.0, 0.0, 0.0)),
            ("{s}UpLeg", "{s}_thigh", "Hips", (0.0, 0.0, 0.0)),
            ("{s}Leg", "{s}_shin", "{s}UpLeg", (0.0, 0.0, 0.0)),
            ("{s}Foot", "{s}_foot", "{s}Leg", (0.0, 0.0, 0.0)),
            ("{s}Toe", "{s}_foot", "{s}Foot", (0.13, 0.0, -0.045)),
        )
    },
}


def disguised(motion: Motion, scale: float, seed: int | None) -> Motion:
    """The motion on a skeleton with other names, more joints, another size, and joint frames turned at random
    (``seed``; None: as they are). Its zero pose then is nothing a body can take, as in several libraries."""
    draw = torch.Generator().manual_seed(seed or 0)
    body_pos, body_rot = (x.double() for x in motion.fk())
    names = list(STUDIO)
    turns = rotation.normalize(torch.randn(len(names), 4, generator=draw, dtype=torch.float64))
    if seed is None:
        turns = rotation.identity(len(names), dtype=torch.float64)
    own = motion.skeleton
    pos, rot = [], []
    for k, (body, _, place) in enumerate(STUDIO.values()):
        b = own.body(body)
        at = body_pos[:, b] + rotation.rotate(body_rot[:, b], torch.tensor(place or (0.0, 0.0, 0.0)).double())
        pos.append(scale * at)
        rot.append(rotation.multiply(body_rot[:, b], turns[k]))
    parents = [names.index(p) if p else -1 for _, p, _ in STUDIO.values()]
    offsets, joint_rot = [torch.zeros(3, dtype=torch.float64)], []
    for k in range(1, len(names)):
        p = parents[k]
        offset = rotation.rotate_inverse(rot[p], pos[k] - pos[p])
        assert float((offset - offset[0]).norm(dim=-1).max()) < 1e-4, "a rigid bone"
        offsets.append(offset.mean(dim=0))
        joint_rot.append(rotation.multiply(rotation.inverse(rot[p]), rot[k]))
    skeleton = Skeleton(
        tuple(names), tuple(parents), torch.stack(offsets).float(), rotation.identity(len(names)),
    )  # fmt: skip
    return Motion(skeleton, pos[0].float(), rot[0].float(), torch.stack(joint_rot, dim=1).float(), motion.fps, "alien")


@pytest.fixture(scope="module")
def walk() -> Motion:
    return Motion.load(paths.resolve("motions/walk_1.4_left_0.25.npz")).slice(0, 180)


@pytest.mark.parametrize(("scale", "seed"), [(1.0, None), (1.0, 0), (0.7, 1), (1.3, 2)])
def test_a_walk_survives_a_foreign_skeleton(
    humanoid: CharacterModel, walk: Motion, scale: float, seed: int | None
) -> None:
    """The same clip on a skeleton with arbitrary joint frames and another size comes back as it was."""
    done = retarget(disguised(walk, scale, seed), humanoid)
    assert done.residuals.joint_map == "lafan1"
    assert done.residuals.scale == pytest.approx(1 / scale, rel=1e-3)
    back = done.motion
    shift = walk.root_pos[0] - back.root_pos[0]
    off = (back.root_pos + shift - walk.root_pos).norm(dim=-1)
    # the start is where the source had it, so turn and shape of the path agree, scaled about that start
    assert float(off.max()) < 0.04
    assert abs(float((back.root_pos[:, 2] - walk.root_pos[:, 2]).mean())) < 0.015
    error = torch.rad2deg((back.dof_pos() - walk.dof_pos()).abs())
    assert float(error.mean()) < 2.5, "degrees"
    assert float(error.quantile(0.99)) < 15.0
    assert done.residuals.slide["result"] < 0.02
    assert done.residuals.deepest < 0.002


def test_directions_alone_are_copied_exactly(humanoid: CharacterModel, walk: Motion) -> None:
    done = retarget(disguised(walk, 1.0, 3), humanoid, feet=False)
    for part in ("left_thigh", "right_shin", "left_upper_arm", "right_lower_arm"):
        assert done.residuals.direction[part][1] < 2.0, part


def test_every_map_is_sound_and_finds_its_own_names() -> None:
    assert {m.name for m in role_maps()} >= {"cmu", "bandai", "lafan1", "smpl", "mixamo", "humanoid"}
    for found in role_maps():
        names = [choices[0] for choices in found.roles.values()] + [group[0] for group in found.marks]
        assert detect(list(dict.fromkeys(names))).name == found.name
    prefixed = [f"mixamorig:{choices[0]}" for choices in load_map("mixamo").roles.values()]
    assert detect(prefixed).name == "mixamo"


def test_unknown_skeletons_and_maps_are_refused_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(MotionError, match=r"no joint map fits.*copy cfg/retarget"):
        detect(["a", "b", "LeftUpLeg", "LeftLeg"])
    with pytest.raises(ConfigError, match="cmu"):
        load_map("cmuu")
    with pytest.raises(ConfigError, match="unknown role 'tail'"):
        load_map({"name": "x", "roles": {"tail": "Tail"}})
    (tmp_path / "mine.yaml").write_text("roles: {pelvis: p}\n")
    with pytest.raises(ConfigError, match="no joint is given for left_thigh"):
        load_map(tmp_path / "mine.yaml")


def test_two_bones_reach_their_goal_in_their_plane() -> None:
    draw = torch.Generator().manual_seed(0)
    goal = 0.4 * torch.randn(200, 3, generator=draw, dtype=torch.float64)
    goal = goal[(goal.norm(dim=-1) < 0.79) & (goal.norm(dim=-1) > 0.05)]
    side = torch.randn(len(goal), 3, generator=draw, dtype=torch.float64)
    first, second = two_bone(torch.zeros_like(goal), goal, side, 0.42, 0.41)
    torch.testing.assert_close(0.42 * first + 0.41 * second, goal, atol=1e-6, rtol=0)
    normal = torch.linalg.cross(first, second)
    across = side - (side * goal).sum(-1, keepdim=True) / goal.square().sum(-1, keepdim=True) * goal
    assert float(torch.cosine_similarity(normal, across).min()) > 0.999, "bends about the given side"


def test_reaching_respects_limits(humanoid: CharacterModel) -> None:
    skeleton = humanoid.skeleton
    low, high = skeleton.dof_limits.double().unbind(-1)
    draw = torch.Generator().manual_seed(1)
    truth = low + (high - low) * torch.rand(50, skeleton.num_dofs, generator=draw, dtype=torch.float64)
    root_pos, root_rot = torch.zeros(50, 3, dtype=torch.float64), rotation.identity(50, dtype=torch.float64)
    pos, rot = skeleton.fk(root_pos, root_rot, skeleton.dofs_to_joint_rot(truth))
    foot = skeleton.body("left_foot")
    sole = humanoid.sole[humanoid.feet.index("left_foot")].double()
    points = [Point(foot, p, pos[:, foot] + rotation.rotate(rot[:, foot], p)) for p in sole]
    leg = [skeleton.dof(n) for n in skeleton.dof_names if n.startswith(("left_hip", "left_knee", "left_ankle"))]
    start = truth.clone()
    start[:, leg] += 0.25 * torch.randn(50, len(leg), generator=draw, dtype=torch.float64)
    found = reach(skeleton, root_pos, root_rot, start, leg, points, iterations=20)
    assert ((found >= low - 1e-9) & (found <= high + 1e-9))[:, leg].all()
    now, turned = skeleton.fk(root_pos, root_rot, skeleton.dofs_to_joint_rot(found))
    at = [now[:, foot] + rotation.rotate(turned[:, foot], p.offset) for p in points]
    off = torch.stack([(where - p.goal).norm(dim=-1) for where, p in zip(at, points, strict=True)])
    assert float(off.median()) < 2e-3, "m"
    beyond = [Point(foot, sole[0], points[0].goal + 3.0)]
    far = reach(skeleton, root_pos, root_rot, start, leg, beyond)
    assert torch.isfinite(far).all() and ((far >= low - 1e-9) & (far <= high + 1e-9))[:, leg].all()


def test_planted_feet_roll_without_slipping() -> None:
    """A foot that pitches from heel to toe while its ankle drifts is planted; in the air it follows."""
    frames, fps = 90, 60.0
    t = torch.linspace(0, 1, frames, dtype=torch.float64)
    pitch = torch.where(t < 0.33, -0.35 + t, torch.where(t < 0.66, torch.zeros_like(t), 1.5 * (t - 0.66)))
    rot = rotation.from_axis_angle(torch.tensor([0.0, 1.0, 0.0]).double().expand(frames, 3), pitch)
    sole = torch.tensor([[-0.04, -0.045, -0.05], [-0.04, 0.045, -0.05], [0.13, -0.045, -0.05], [0.13, 0.045, -0.05]])
    ankle = torch.stack((0.1 * t, torch.zeros_like(t), 0.06 + 0 * t), dim=1)
    touching = torch.zeros(frames, dtype=torch.bool)
    touching[5:80] = True
    goal = plant(ankle, rot, sole, touching)
    points = (goal[:, None] + rotation.rotate(rot[:, None], sole.double()))[:, None]
    assert mean_slide(points, touching[:, None], fps) < 0.01
    lowest = points[..., 2].amin(dim=(1, 2))
    assert float(lowest[touching].abs().max()) < 1e-6 and float(lowest.min()) > -1e-6
    assert segments(touching) == [(5, 79)] and segments(~touching) == [(0, 4), (80, 89)]
    assert torch.equal(plant(ankle, rot, sole, ~(touching | True))[:, :2], ankle[:, :2])


def test_hips_come_down_only_as_far_as_feet_ask() -> None:
    sockets = torch.tensor([[[0.0, 0.08, 0.95], [0.0, -0.08, 0.95]]]).double().repeat(40, 1, 1)
    ankles = sockets.clone()
    ankles[..., 2] = 0.05
    touching = torch.ones(40, 2, dtype=torch.bool)
    assert float(lower_hips(sockets, ankles, touching, 0.95, 30.0).abs().max()) == 0.0
    ankles[20, 0, 2] = 0.02
    drop = lower_hips(sockets, ankles, touching, 0.91, 30.0)
    assert -0.021 < float(drop.min()) < -0.01 and float(drop[0]) == 0.0


def test_without_arms_or_with_a_twisted_map(humanoid: CharacterModel, walk: Motion) -> None:
    source = disguised(walk, 1.0, 4)
    legs_only = {r: n for r, n in load_map("lafan1").roles.items() if "arm" not in r and "hand" not in r}
    done = retarget(source, humanoid, {"name": "legs", "roles": {r: "|".join(n) for r, n in legs_only.items()}})
    arms = [d for d, n in enumerate(humanoid.skeleton.dof_names) if "shoulder" in n or "elbow" in n]
    assert float(done.motion.dof_pos()[:, arms].abs().max()) < 0.02
    with pytest.raises(MotionError, match="does not fit"):
        retarget(source, humanoid, "smpl")


def test_the_humanoids_own_clip_stays_itself(humanoid: CharacterModel, walk: Motion) -> None:
    done = retarget(walk, humanoid)
    assert done.residuals.joint_map == "humanoid" and done.residuals.scale == pytest.approx(1.0)
    error = torch.rad2deg((done.motion.dof_pos() - walk.dof_pos()).abs())
    assert float(error.mean()) < 2.0


@pytest.mark.parametrize("limbs", ["leg", "arm"])
def test_zero_poses_are_used_only_where_a_body_can_take_them(walk: Motion, limbs: str) -> None:
    for seed, expected in ((None, True), (5, False)):
        source = disguised(walk, 1.0, seed)
        roles = detect(source.skeleton.names).bind(source.skeleton.names)
        assert (anatomy.zero_pose_axis(source.skeleton, roles, f"left_{limbs}") is not None) is expected


# ------------------------------------------------------------------ recorded clips
def _accepted(motion: Motion, humanoid: CharacterModel) -> None:
    """Sliding and penetration not worse than the source's by more than 1 cm/s and 2 mm; limits kept; directions."""
    done = retarget(motion, humanoid)
    r = done.residuals
    assert r.slide["result"] <= r.slide["source"] + 0.01
    assert r.penetration["result"] <= r.penetration["source"] + 0.002
    low, high = humanoid.skeleton.dof_limits.unbind(-1)
    dof = done.motion.dof_pos()
    assert float((low - dof).max()) < 2e-3 and float((dof - high).max()) < 2e-3
    assert sum(mean for mean, _ in r.direction.values()) / len(r.direction) < 2.0, "degrees"
    # measured once more, independently: the slowest sole point of a standing foot
    points = feet_of(humanoid).points(*done.motion.fk())
    assert done.motion.contacts is not None
    assert mean_slide(points, done.motion.contacts, motion.fps) == pytest.approx(r.slide["result"], abs=1e-3)
    assert "slide" in "\n".join(r.lines()) and math.isfinite(r.as_dict()["scale"])


@pytest.mark.parametrize(
    "name", ["dataset-1_dash_normal_001", "dataset-1_walk-back_normal_001", "dataset-1_walk_tired_001",
             "dataset-2_run_active_010", "dataset-2_walk-turn-left_normal_005", "dataset-2_walk_youthful_005"],
)  # fmt: skip
def test_recorded_bandai(recorded_motions: Path, humanoid: CharacterModel, name: str) -> None:
    _accepted(Motion.load(recorded_motions / "bvh_bandai_nc" / f"{name}.bvh"), humanoid)


def test_recorded_cmu(recorded_motions: Path, humanoid: CharacterModel) -> None:
    motion = Motion.load(recorded_motions / "bvh_cmu/01_01.bvh", scale=0.05644).resample(30.0)
    _accepted(motion, humanoid)


def test_recorded_rest_poses(recorded_motions: Path, humanoid: CharacterModel) -> None:
    """T-poses of two libraries, one of them y up in inches: scaled to metres they stand in a T."""
    for file, scale, upright in (("cmu_tpose", 0.05644, False), ("sfu_tpose", 0.01, True)):
        pose = Motion.load(recorded_motions / f"poselib_npy_cmu/{file}.npy")
        turn = rotation.from_euler(torch.tensor([math.pi / 2, 0.0, 0.0]), "XYZ") if upright else rotation.identity()
        pose = replace(
            pose, skeleton=replace(pose.skeleton, offsets=pose.skeleton.offsets * scale),
            root_pos=rotation.rotate(turn, pose.root_pos * scale), root_rot=rotation.multiply(turn, pose.root_rot),
        )  # fmt: skip
        done = retarget(pose, humanoid)
        arm = humanoid.skeleton.body("left_upper_arm"), humanoid.skeleton.body("left_hand")
        pos, _ = done.motion.fk()
        along = pos[0, arm[1]] - pos[0, arm[0]]
        assert float(along[2].abs()) < 0.15 and float(along.norm()) > 0.5


def test_knees_do_not_pop_and_feet_slide_no_more_than_the_sources(
    recorded_motions: Path, humanoid: CharacterModel
) -> None:
    """Where limits put a foot's place out of reach: a fast run's ankle, and hips that are asked for more than they
    can in two thirds of the frames."""
    run = retarget(Motion.load(recorded_motions / "bvh_bandai_nc/dataset-2_run_active_010.bvh"), humanoid)
    assert spikes(run.motion) == []
    smpl = Motion.load(recorded_motions / "amass_like_npz/cmu_01_01_amassfmt.npz").slice(0, 500)
    done = retarget(smpl, humanoid)
    assert done.residuals.joint_map == "smpl" and spikes(done.motion) == []
    for figures in (run.residuals, done.residuals):
        assert figures.slide["result"] < figures.slide["source"] + 0.01
        assert figures.penetration["result"] < figures.penetration["source"] + 0.002
