"""Euler angles of animation files: against scipy, smooth, and right at the gimbal lock."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from isaacmm.motion.io.euler import euler_to_quaternion, quaternion_to_euler

ORDERS = ["".join(p) for p in itertools.permutations("xyz")]


def angle_between(a: Rotation, b: Rotation) -> float:
    return float((a * b.inv()).magnitude().max())


@pytest.mark.parametrize("order", [*ORDERS, "zxz", "xyx", "yzy"])
def test_angles_to_quaternions(order: str) -> None:
    angles = np.random.default_rng(0).uniform(-7, 7, (200, 3))
    got = Rotation.from_quat(euler_to_quaternion(angles, order))
    assert angle_between(got, Rotation.from_euler(order.upper(), angles)) < 1e-12


@pytest.mark.parametrize("order", ["x", "y", "zx", "yx", "zz"])
def test_less_than_three_channels(order: str) -> None:
    angles = np.random.default_rng(0).uniform(-3, 3, (50, 4, len(order)))
    got = euler_to_quaternion(angles, order)
    assert got.shape == (50, 4, 4)
    expected = Rotation.identity(200)
    for n, letter in enumerate(order):
        expected = expected * Rotation.from_euler(letter, angles[..., n].reshape(-1, 1))
    assert angle_between(Rotation.from_quat(got.reshape(-1, 4)), expected) < 1e-12


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("smooth", [True, False])
def test_quaternions_to_angles(order: str, smooth: bool) -> None:
    q = np.random.default_rng(1).normal(size=(300, 5, 4))
    q /= np.linalg.norm(q, axis=-1, keepdims=True)
    angles = quaternion_to_euler(q, order, smooth)
    back = Rotation.from_euler(order.upper(), angles.reshape(-1, 3))
    assert angle_between(back, Rotation.from_quat(q.reshape(-1, 4))) < 1e-7


@pytest.mark.parametrize("order", ORDERS)
def test_smooth_curves_come_back_as_they_were(order: str) -> None:
    """Through whole turns, through the other triple, through the lock: the very curves, up to whole turns."""
    time = np.linspace(0, 6, 400)
    curves = np.stack((3 * time, 2.2 * np.sin(time), np.cos(2 * time) - 4 * time), axis=-1)
    back = quaternion_to_euler(euler_to_quaternion(curves, order), order)
    offset = back - curves
    np.testing.assert_allclose(offset, np.broadcast_to(offset[0], offset.shape), atol=1e-6)
    np.testing.assert_allclose(np.cos(offset[0]), 1.0, atol=1e-6)


@pytest.mark.parametrize("order", ORDERS)
def test_a_hinge_stays_a_hinge(order: str) -> None:
    """A knee that bends past 90 degrees is one curve, whichever place its axis has in the order."""
    for axis in range(3):
        curves = np.zeros((100, 3))
        curves[:, axis] = np.linspace(2.4, -2.4, 100)
        got = quaternion_to_euler(euler_to_quaternion(curves, order), order)
        np.testing.assert_allclose(got, curves, atol=1e-6)


@pytest.mark.parametrize("order", ORDERS)
def test_resting_in_the_lock(order: str) -> None:
    curves = np.zeros((90, 3))
    curves[:, 0] = np.linspace(0, 1, 90)
    curves[:, 1] = np.clip(np.linspace(0, 2.5, 90), 0, np.pi / 2)
    got = quaternion_to_euler(euler_to_quaternion(curves, order), order)
    error = Rotation.from_euler(order.upper(), got) * Rotation.from_euler(order.upper(), curves).inv()
    assert error.magnitude().max() < 2e-5
    assert np.abs(np.diff(got, axis=0)).max() < 0.1
