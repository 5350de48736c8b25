"""Twins: where they go under a command, when they search, and what they never do."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from isaacmm.character import CharacterModel
from isaacmm.matching.database import Database
from isaacmm.matching.search import BruteForce, make_search
from isaacmm.matching.trajectory import CommandSpring
from isaacmm.matching.twin import Twins
from isaacmm.motion.clip import Motion
from isaacmm.motion.library import MotionLibrary
from isaacmm.paths import data_folder

DT = 1.0 / 30.0


class Counting:
    """A search that keeps what it was asked."""

    def __init__(self, features: Tensor, allowed: Tensor) -> None:
        self.search, self.asked = BruteForce(features, allowed), 0

    def __call__(self, query: Tensor, style: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.asked += len(query)
        return self.search(query, style)


@pytest.fixture(scope="module")
def walks(humanoid: CharacterModel) -> Database:
    """Walks, runs, turns, stops and idling of the clips that come along."""
    names = ("idle", "walk_0.6", "walk_1.0", "walk_1.4", "walk_1.8", "run_2.6", "run_3.0")
    names += tuple(f"walk_1.0_{side}_{bend}" for side in ("left", "right") for bend in ("0.25", "0.50"))
    names += tuple(f"stop_walk_{speed}_{foot}" for speed in ("0.8", "1.2") for foot in ("left", "right"))
    clips = [Motion.load(data_folder("motions") / f"{name}.npz", skeleton=humanoid.skeleton) for name in names]
    return Database(MotionLibrary(clips, humanoid.skeleton), humanoid)


def twins(data: Database, worlds: int, **options: object) -> Twins:
    return Twins(data, make_search(data.features, data.valid[None]), worlds, stride=2, **options)  # type: ignore[arg-type]


def steady(data: Database, speed: Sequence[float], turn: Sequence[float]) -> Tensor:
    """Conditions ``[N, 12]`` of commands that have been kept for long."""
    velocity = torch.stack((torch.tensor(speed), torch.zeros(len(speed))), dim=1)
    rate, yaw = torch.tensor(turn), torch.zeros(len(speed))
    spring = CommandSpring(len(speed), data.spec.horizons)
    spring.reset(torch.arange(len(speed)), yaw, velocity, rate)
    return data.condition(*spring.predict(velocity, yaw, rate, yaw))


def wandering(data: Database, worlds: int, steps: int, seed: int) -> list[Tensor]:
    """Conditions that change every second."""
    draw = torch.Generator().manual_seed(seed)
    parts = []
    for step in range(steps):
        if step % 30 == 0:
            speed = 3.0 * torch.rand(worlds, generator=draw)
            now = steady(data, speed.tolist(), (torch.rand(worlds, generator=draw) - 0.5).tolist())
        parts.append(now)
    return parts


def test_jumps_go_to_valid_rows_and_clips_play_in_order(walks: Database) -> None:
    """Never to a clip's tail or across its end; where there was no jump, the next row of the same clip."""
    group = twins(walks, 32, every=4)
    draw = torch.Generator().manual_seed(0)
    rows = walks.valid.nonzero().flatten()
    start = rows[torch.randint(len(rows), (32,), generator=draw)]
    conditions = wandering(walks, 32, 240, seed=1)
    group.reset(torch.arange(32), start, conditions[0])
    jumps = 0
    for condition in conditions:
        before = group.row.clone()
        row, jumped = group.step(condition), group.jumped
        assert bool(walks.valid[row[jumped]].all())
        assert torch.equal(row[~jumped], before[~jumped] + 2)
        assert torch.equal(walks.grid.clip[row[~jumped]], walks.grid.clip[before[~jumped]])
        jumps += int(jumped.sum())
    assert jumps > 100


def test_worlds_do_not_know_each_other(walks: Database) -> None:
    """Worlds in another order go the same ways in another order."""
    order = torch.randperm(12, generator=torch.Generator().manual_seed(2))
    conditions = wandering(walks, 12, 90, seed=3)
    start = walks.valid.nonzero().flatten()[::200][:12]
    one, other = twins(walks, 12), twins(walks, 12)
    one.reset(torch.arange(12), start, conditions[0])
    other.reset(torch.arange(12), start[order], conditions[0][order])
    other.timer = one.timer[order].clone()
    for condition in conditions:
        assert torch.equal(one.step(condition)[order], other.step(condition[order]))


@pytest.mark.parametrize(
    ("speed", "turn"), [(0.0, 0.0), (1.0, 0.0), (1.4, 0.0), (1.0, 0.25), (1.0, -0.5), (3.0, 0.0)]
)
def test_a_kept_command_is_obeyed(walks: Database, speed: float, turn: float) -> None:
    """Wherever it starts, after three seconds a twin does what the clips can do: speed and turn rate on average.

    The track keeps a fifth of the hips' sway, and a twin that repeats one stride repeats its share of it.
    """
    start = walks.valid.nonzero().flatten()[::300]
    worlds = len(start)
    condition = steady(walks, [speed] * worlds, [turn] * worlds)
    group = twins(walks, worlds)
    group.reset(torch.arange(worlds), start, condition)
    rows = torch.stack([group.step(condition).clone() for _ in range(240)])[90:]
    forward, turning = walks.velocity[rows, 0].mean(dim=0), walks.turn_rate[rows].mean(dim=0)
    assert (forward - speed).abs().max() < 0.1 + 0.05 * speed
    assert (turning - turn).abs().max() < 0.08 + 0.02 * speed


def test_searches_are_spread_over_the_worlds(walks: Database) -> None:
    """Without an occasion each world searches every six steps, one sixth of the worlds at a time."""
    search = Counting(walks.features, walks.valid[None])
    group = Twins(walks, search, 24, every=6)
    row = int(walks.grid.first[1]) + 20
    condition = walks.trajectory[[row]].expand(24, -1)
    group.reset(torch.arange(24), torch.full((24,), row), condition)
    asked = []
    for _ in range(24):
        before = search.asked
        group.step(condition)
        asked.append(search.asked - before)
    assert asked == [4] * 24
    assert group.searches == search.asked == 96


def test_a_jump_of_the_command_is_answered_at_once(walks: Database) -> None:
    search = Counting(walks.features, walks.valid[None])
    group = Twins(walks, search, 4, every=100, jump=1.0)
    row = torch.full((4,), int(walks.grid.first[1]) + 20)
    slow, fast = steady(walks, [0.6] * 4, [0.0] * 4), steady(walks, [3.0] * 4, [0.0] * 4)
    group.reset(torch.arange(4), row, slow)
    group.timer[:] = 50
    group.step(slow)
    assert search.asked == 0
    mixed = slow.clone()
    mixed[2] = fast[2]
    group.step(mixed)
    assert search.asked == 1 and group.jumped.tolist() == [False, False, True, False]
    assert float(walks.velocity[group.row[2], 0]) > 1.5
    group.step(mixed + 0.1)  # a small change waits for its turn
    assert search.asked == 1


def test_a_clip_that_ends_is_left(walks: Database) -> None:
    """At its last row, whatever the timer says, and not to a row just before; a tail is played before."""
    group = twins(walks, 3, every=1000)
    last = int(walks.grid.first[2] + walks.grid.count[2]) - 1
    tail = int(walks.valid[: last + 1].nonzero().max())
    condition = walks.trajectory[[tail]].expand(3, -1)
    group.reset(torch.arange(3), torch.tensor([last, last - 1, tail]), condition)
    group.timer[:] = 500
    row = group.step(condition)
    assert group.jumped.tolist() == [True, True, False] and int(row[2]) == tail + 2
    assert bool(walks.valid[row[:2]].all())
    same = walks.grid.clip[row[:2]] == walks.grid.clip[last]
    assert not bool((same & (last - row[:2] <= group.near)).any())


def test_a_better_row_nearby_is_no_reason_to_jump(walks: Database) -> None:
    """The best row lies a few rows on in the same clip: play on. It lies elsewhere: go, unless hardly better."""
    here = int(walks.grid.first[2]) + 100
    where = {"row": here + 12, "cost": 0.0}

    def search(query: Tensor, style: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return torch.full((len(query),), where["row"]), torch.full((len(query),), where["cost"])

    def next_row(**options: object) -> int:
        group = Twins(walks, search, 1, every=1, near_seconds=1.0 / 3.0, **options)  # type: ignore[arg-type]
        condition = walks.trajectory[[here + 1]] + 0.5
        group.reset(torch.tensor([0]), torch.tensor([here]), condition)
        return int(group.step(condition))

    assert next_row() == here + 1
    where["row"] = here + 1 + 21  # just beyond a third of a second
    assert next_row() == here + 22
    assert next_row(stay_bias=12 * 0.25 + 0.01) == here + 1
    where["row"] = int(walks.grid.first[1]) + 5
    assert next_row() == where["row"]


def test_a_clip_of_another_style_is_left(walks: Database) -> None:
    """A twin whose style changes does not play on in clips that the new style leaves out, however well they fit;
    the tails of those that it has are played."""
    clip = walks.grid.clip
    allowed = torch.stack((walks.valid, walks.valid & (clip == 3)))
    group = Twins(walks, make_search(walks.features, allowed), 2, every=3)
    row = torch.full((2,), int(walks.grid.first[1]) + 40)
    condition = walks.trajectory[row]
    group.reset(torch.arange(2), row, condition)
    style = torch.tensor([0, 1])
    for _ in range(6):
        group.step(condition, style)
    assert clip[group.row].tolist() == [1, 3]
    tail = int(walks.grid.first[3] + walks.grid.count[3]) - 9
    group.reset(torch.arange(2), torch.full((2,), tail), walks.trajectory[[tail]].expand(2, -1))
    group.timer[:] = 0
    row = group.step(walks.trajectory[[tail + 1]].expand(2, -1), torch.tensor([1, 1]))
    assert row.tolist() == [tail + 1, tail + 1] and not bool(walks.valid[row].any())


def test_state_goes_through_a_checkpoint(walks: Database) -> None:
    conditions = wandering(walks, 6, 60, seed=5)
    one, other = twins(walks, 6), twins(walks, 6)
    one.reset(torch.arange(6), walks.valid.nonzero().flatten()[:6], conditions[0])
    for condition in conditions[:25]:
        one.step(condition)
    other.load_state_dict(one.state_dict())
    for condition in conditions[25:]:
        assert torch.equal(one.step(condition), other.step(condition))
