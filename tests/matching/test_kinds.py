"""Kinds of motion in clips without tags, and how far commands may go."""

from __future__ import annotations

import torch

from isaacmm.envs.locomotion_command import modes_from_config
from isaacmm.matching import kinds
from isaacmm.matching.database import Database
from isaacmm.motion.library import MotionLibrary
from tests.helpers import character, made_up_walk

MODES = {
    "walk": {"tags": ["walk"], "forward": [0.6, 1.8], "turn": [-0.6, 0.6]},
    "run": {"tags": ["run"], "forward": [2.2, 3.4]},
    "stand": {"tags": ["idle"]},
}


def database(*clips: tuple[float, float], tags: tuple[str, ...] = ()) -> Database:
    """Of made-up clips with these speeds (m/s) and turn rates (rad/s)."""
    motions = [made_up_walk(speed, turn, 3.0, name=f"{speed}_{turn}") for speed, turn in clips]
    for motion in motions:
        motion.tags = tags
    return Database(MotionLibrary(motions, character().skeleton), character(), 60.0)


def test_kinds_are_seen_in_what_a_clip_does() -> None:
    assert kinds.tags(database((1.2, 0.0), (3.0, 0.0), (0.0, 0.0))) == [{"walk"}, {"run"}, {"idle"}]


def test_a_clip_s_own_tags_are_believed() -> None:
    assert kinds.tags(database((3.0, 0.0), tags=("jog",))) == [{"jog"}]


def test_reach_is_what_the_clips_do() -> None:
    reach = kinds.reach(database((0.8, 0.3), (1.4, -0.4)), [0, 1])
    torch.testing.assert_close(reach[0], torch.tensor([0.8, 1.4]), atol=0.08, rtol=0)
    torch.testing.assert_close(reach[2], torch.tensor([-0.4, 0.3]), atol=0.05, rtol=0)
    assert float(kinds.reach(database((0.8, 0.3), (1.4, -0.4)), [0])[2].min()) > 0.2


def test_commands_stay_within_reach() -> None:
    (walk,), absent = modes_from_config(MODES, database((0.8, 0.0), (1.4, 0.0)))
    assert absent == ["run", "stand"]
    assert 0.7 < walk.forward[0] < 0.82 and 1.38 < walk.forward[1] < 1.5
    assert walk.turn == (0.0, 0.0)  # straight clips are no school for curves
    (walk,), _ = modes_from_config(MODES, database((1.0, 0.4), (1.0, -0.4)))
    assert 0.4 <= walk.turn[1] < 0.55 and -0.55 < walk.turn[0] <= -0.4
    # clips beyond the range: the nearest they do
    (walk,), _ = modes_from_config(MODES, database((1.95, 0.0), tags=("walk",)))
    assert walk.forward[0] > 1.7 and walk.forward[1] <= 1.96
