"""The database as training data."""

from __future__ import annotations

import pytest
import torch

from isaacmm import rotation
from isaacmm.errors import MotionError
from isaacmm.learned_matching.prototypes import Prototypes
from isaacmm.learned_matching.queries import Queries
from isaacmm.learned_matching.rows import Rows
from isaacmm.learned_matching.task import LearnedMMTask
from isaacmm.matching.database import Database


def test_windows_stay_within_their_clips(rows: Rows, database: Database) -> None:
    for length in (2, 8, 31):
        window = rows.starts(length)[:, None] + torch.arange(length)
        clip = database.grid.clip[window]
        assert (clip == clip[:, :1]).all()
        apart = database.grid.time[window][:, -1] - database.grid.time[window][:, 0]
        torch.testing.assert_close(apart, torch.full_like(apart, (length - 1) / 30.0), atol=1e-5, rtol=0)
    # every window there is: the last one of a clip ends on its last row
    ends = rows.starts(8) + 7
    last = database.grid.first + database.grid.count - 1
    assert set(last.tolist()) <= set(ends.tolist())


def test_a_window_longer_than_every_clip_is_refused(rows: Rows) -> None:
    with pytest.raises(MotionError, match=r"no clip has a window of 10.00 s .*longest has 4.00 s"):
        rows.starts(301)


def test_clips_of_any_rate_become_rows_of_one(rows: Rows, database: Database) -> None:
    assert database.grid.count.tolist() == [121, 91, 36 + 1]
    # speeds are those of the clips, whatever their frame rates
    for clip, speed in enumerate((1.0, 1.3, 0.7)):
        own = rows.poses[database.grid.clip == clip][:, rows.layout["velocity"]].norm(dim=-1)
        assert abs(float(own.median()) - speed) < 0.05 * speed


def test_pose_vectors_come_back(rows: Rows) -> None:
    pose = rows.layout.decode(rows.poses)
    t = rows.table
    assert float(rotation.angle_between(pose.hip_rot, t.hip_rot).max()) < 1e-3
    torch.testing.assert_close(pose.dof_pos, t.dof_pos)
    torch.testing.assert_close(pose.hip_turn, t.hip_turn)
    torch.testing.assert_close(pose.velocity, rows.database.velocity)
    assert (pose.contact == t.contact).all()
    assert rows.layout.parts[-1].stop == rows.layout.size == rows.poses.shape[1]


def test_bodies_are_those_of_the_clip_seen_from_its_track(rows: Rows, database: Database) -> None:
    at = torch.tensor([0, 50, 130, 200])
    state = database.library.state(database.grid.clip[at], database.grid.time[at])
    back = rotation.inverse(rotation.from_yaw(database.track.yaw[at]))
    ground = torch.cat((database.track.position[at], torch.zeros(4, 1)), dim=1)
    wanted = rotation.rotate(back[:, None], state.body_pos - ground[:, None])[:, 1:]
    torch.testing.assert_close(rows.bodies[at].unflatten(1, (-1, 3)), wanted, atol=1e-4, rtol=0)


def test_queries_are_answered_as_by_the_search(database: Database) -> None:
    queries = Queries(database)
    query = queries.draw(30, torch.Generator().manual_seed(0))
    assert query.shape == (30, database.features.shape[1])
    distance = torch.cdist(query, database.features).masked_fill(~database.valid, torch.inf)
    assert (distance.argmin(1) == queries.search(query)[0]).all()
    assert torch.equal(query, queries.draw(30, torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("count", [1, 7, 40, 10**6])
def test_prototypes_are_rows_and_answers_lie_around_them(database: Database, count: int) -> None:
    found = Prototypes(database, count)
    assert len(found) == min(count, int(database.valid.sum())) == len(found.rows.unique())
    assert database.valid[found.rows].all()
    query = Queries(database).draw(24, torch.Generator().manual_seed(0))
    chosen = found.choose(query)
    x = database.features
    assert torch.equal(chosen, torch.cdist(query, x[found.rows]).argmin(1))
    around = torch.cdist(x, x[found.rows]).argmin(1)
    allowed = (around[None] == chosen[:, None]) & database.valid
    wanted = torch.cdist(query, x).masked_fill(~allowed, torch.inf)
    answer = found.answer(query, chosen)
    best = wanted.min(1).values
    torch.testing.assert_close(wanted.gather(1, answer[:, None])[:, 0], best, atol=1e-3, rtol=1e-4)


def test_commanded_queries_hold_the_pose_of_a_row(database: Database) -> None:
    queries = Queries(database)
    query = queries.commanded(40, torch.Generator().manual_seed(1))
    pose = database.pose[database.valid]
    # at most a little noise away from some row's pose, whose spread is one
    assert float(torch.cdist(query[:, : pose.shape[1]], pose).min(1).values.max()) < 1.5
    assert torch.isfinite(query).all()


def test_memory_counts_what_a_controller_needs(rows: Rows) -> None:
    # 27 features, 3 + 28 + 2 of the pose, a quaternion, a ground point with its heading, a byte of contacts
    assert rows.memory() == len(rows) * (4 * (27 + 33 + 4 + 3) + 1)


def test_batches_depend_on_step_and_generator_alone(task: LearnedMMTask) -> None:
    a, b = (task.batch(3, torch.Generator().manual_seed(7)) for _ in range(2))
    assert all(torch.equal(a[k], b[k]) for k in a)
    other = task.batch(3, torch.Generator().manual_seed(8))
    assert not torch.equal(a["query"], other["query"])
    assert len(next(iter(a.values()))) == 16
