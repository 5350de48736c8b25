"""isaacmm.rotation against scipy, and the properties a rotation has."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp

from isaacmm import rotation

properties = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 2**31 - 1)
angle = st.floats(-math.pi, math.pi)
ORDERS = ["".join(p) for p in itertools.permutations("XYZ")] + ["xyz", "zxy"]


def quaternions(seed: int, n: int = 16) -> torch.Tensor:
    """Random unit quaternions, among them the awkward ones: identity, half turns, tiny turns."""
    q = torch.randn(n, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    special = torch.tensor(
        [[0, 0, 0, 1], [0, 0, 0, -1], [1, 0, 0, 0], [0, 1, 0, 0], [1e-9, 0, 0, 1], [0, 0, 1, 1e-9]]
    )
    return rotation.normalize(torch.cat((q, special.double())))


def same(a: torch.Tensor, b: Rotation, tolerance: float = 1e-9) -> None:
    """Same rotation, whatever the sign."""
    assert (Rotation.from_quat(a.numpy()) * b.inv()).magnitude().max() < tolerance


@given(seeds)
@properties
def test_products_and_inverse(seed: int) -> None:
    a, b = quaternions(seed), quaternions(seed + 1)
    ra, rb = Rotation.from_quat(a), Rotation.from_quat(b)
    same(rotation.multiply(a, b), ra * rb)
    same(rotation.inverse(a), ra.inv())
    same(rotation.multiply(a, rotation.inverse(a)), Rotation.identity(len(a)))


@given(seeds)
@properties
def test_vectors(seed: int) -> None:
    q = quaternions(seed)
    v = torch.randn(len(q), 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    expected = Rotation.from_quat(q).apply(v)
    np.testing.assert_allclose(rotation.rotate(q, v), expected, atol=1e-12)
    np.testing.assert_allclose(rotation.rotate_inverse(q, rotation.rotate(q, v)), v, atol=1e-12)


def test_shapes_broadcast() -> None:
    q, v = rotation.identity(4, 1), torch.randn(5, 3)
    assert rotation.rotate(q, v).shape == (4, 5, 3)
    assert rotation.multiply(q, rotation.identity(5)).shape == (4, 5, 4)
    axis = torch.tensor([0.0, 0.0, 1.0])
    assert rotation.from_axis_angle(axis, torch.zeros(2, 3)).shape == (2, 3, 4)


@given(seeds)
@properties
def test_rotation_vectors(seed: int) -> None:
    q = quaternions(seed)
    vector = rotation.to_rotvec(q)
    assert (vector.norm(dim=-1) <= math.pi + 1e-9).all(), "the short way round"
    same(rotation.from_rotvec(vector), Rotation.from_quat(q), 1e-7)
    same(rotation.from_rotvec(vector), Rotation.from_rotvec(vector.numpy()))


@given(seeds, angle)
@properties
def test_axis_angle(seed: int, turn: float) -> None:
    axis = torch.nn.functional.normalize(quaternions(seed)[:8, :3], dim=-1)
    same(
        rotation.from_axis_angle(axis, torch.full((8,), turn, dtype=torch.float64)),
        Rotation.from_rotvec(axis.numpy() * turn),
    )


@given(seeds)
@properties
def test_matrices(seed: int) -> None:
    q = quaternions(seed)
    np.testing.assert_allclose(rotation.to_matrix(q), Rotation.from_quat(q).as_matrix(), atol=1e-12)
    same(rotation.from_matrix(rotation.to_matrix(q)), Rotation.from_quat(q))


@given(seeds)
@properties
def test_two_columns(seed: int) -> None:
    q = quaternions(seed)
    columns = rotation.two_columns(q)
    matrix = Rotation.from_quat(q).as_matrix()
    np.testing.assert_allclose(
        columns, np.concatenate((matrix[:, :, 0], matrix[:, :, 1]), axis=1), atol=1e-12
    )
    same(rotation.from_two_columns(columns), Rotation.from_quat(q))


def test_two_columns_need_not_be_orthonormal() -> None:
    q = rotation.from_two_columns(torch.tensor([2.0, 0.0, 0.0, 0.7, 0.1, 0.0]))
    torch.testing.assert_close(q, rotation.identity())


@given(seeds, st.floats(0, 1))
@properties
def test_slerp(seed: int, t: float) -> None:
    a, b = quaternions(seed), quaternions(seed + 7)
    got = rotation.slerp(a, b, torch.full((len(a),), t, dtype=torch.float64))
    for qa, qb, q in zip(a, b, got, strict=True):
        if float(rotation.angle_between(qa, qb)) > math.pi - 1e-3:
            continue  # opposite rotations: both ways are shortest
        expected = Slerp([0, 1], Rotation.from_quat(torch.stack((qa, qb))))(t)
        assert (Rotation.from_quat(q) * expected.inv()).magnitude() < 1e-6
    torch.testing.assert_close(got.norm(dim=-1), torch.ones_like(got[:, 0]))


def test_slerp_takes_the_short_way_and_hits_its_ends() -> None:
    a = rotation.from_yaw(torch.tensor(0.1))
    b = -rotation.from_yaw(torch.tensor(0.5))  # same rotation, other sign
    half = rotation.slerp(a, b, torch.tensor(0.5))
    assert float(rotation.yaw(half)) == pytest.approx(0.3, abs=1e-6)
    for t, end in ((0.0, a), (1.0, b)):
        assert float(rotation.angle_between(rotation.slerp(a, b, torch.tensor(t)), end)) < 1e-6


@given(st.floats(-3.1, 3.1), st.floats(-1.5, 1.5), st.floats(-3.1, 3.1))
@properties
def test_heading_is_where_the_x_axis_points(yaw: float, pitch: float, roll: float) -> None:
    q = torch.as_tensor(Rotation.from_euler("ZYX", [yaw, pitch, roll]).as_quat())
    assert float(rotation.yaw(q)) == pytest.approx(yaw, abs=1e-6)
    assert float(rotation.angle_between(rotation.heading(q), rotation.from_yaw(torch.tensor(yaw)))) < 1e-6


@given(seeds)
@properties
def test_angle_between(seed: int) -> None:
    a, b = quaternions(seed), quaternions(seed + 3)
    expected = (Rotation.from_quat(a).inv() * Rotation.from_quat(b)).magnitude()
    np.testing.assert_allclose(rotation.angle_between(a, b), expected, atol=1e-7)


@pytest.mark.parametrize("order", ORDERS)
@given(angle, st.floats(-1.5, 1.5), angle)
@settings(max_examples=15, deadline=None)
def test_euler(order: str, a: float, b: float, c: float) -> None:
    q = rotation.from_euler(torch.tensor([[a, b, c]], dtype=torch.float64), order)
    same(q, Rotation.from_euler(order, [[a, b, c]]))
    back = rotation.from_euler(rotation.to_euler(q, order), order)
    assert float(rotation.angle_between(back, q)) < 1e-6


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("middle", [math.pi / 2, -math.pi / 2])
def test_euler_at_the_gimbal_lock(order: str, middle: float) -> None:
    q = rotation.from_euler(torch.tensor([[0.4, middle, -1.1]], dtype=torch.float64), order)
    back = rotation.from_euler(rotation.to_euler(q, order), order)
    assert float(rotation.angle_between(back, q)) < 1e-5


def test_wxyz() -> None:
    q = torch.tensor([0.1, 0.2, 0.3, 0.9])
    assert rotation.to_wxyz(q).tolist() == q[[3, 0, 1, 2]].tolist()
    torch.testing.assert_close(rotation.from_wxyz(rotation.to_wxyz(q)), q)


def test_make_continuous_flips_signs_only() -> None:
    smooth = rotation.from_yaw(torch.linspace(0, 9, 50))[:, None].repeat(1, 3, 1)
    flips = torch.where(torch.rand(50, 3, 1, generator=torch.Generator().manual_seed(0)) < 0.5, -1.0, 1.0)
    got = rotation.make_continuous(smooth * flips)
    assert ((got[1:] * got[:-1]).sum(-1) > 0).all()
    torch.testing.assert_close(got * flips[:1], smooth)


@given(st.floats(-50, 50))
@properties
def test_wrap_angle(value: float) -> None:
    wrapped = float(rotation.wrap_angle(torch.tensor(value, dtype=torch.float64)))
    assert -math.pi <= wrapped < math.pi
    assert math.isclose(math.cos(wrapped), math.cos(value), abs_tol=1e-9)
    assert math.isclose(math.sin(wrapped), math.sin(value), abs_tol=1e-9)


def test_normalize_leaves_zero_alone() -> None:
    assert rotation.normalize(torch.zeros(4)).tolist() == [0, 0, 0, 0]


def test_angular_velocity_of_a_steady_turn() -> None:
    """Turning steadily about a tilted world axis, seen from any start: the rate is that axis' rate, everywhere."""
    axis = torch.nn.functional.normalize(torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64), dim=0)
    time = torch.arange(20, dtype=torch.float64) / 30
    start = quaternions(5)[:4]
    q = rotation.multiply(rotation.from_axis_angle(axis, 2.5 * time)[:, None], start)
    rate = rotation.angular_velocity(q, 1 / 30)
    torch.testing.assert_close(rate, (2.5 * axis).expand(20, 4, 3), atol=1e-9, rtol=0)
    assert rotation.angular_velocity(q[:1], 1 / 30).abs().max() == 0
