"""The renderer against geometry that can be worked out by hand."""

from __future__ import annotations

import math

import mujoco
import numpy as np

from isaacmm.render.actor import Actor
from isaacmm.render.camera import Camera, follow
from isaacmm.render.decals import Arrow, Disc
from isaacmm.render.scene import Scene

BALL = """<mujoco><worldbody><geom type="plane" size="5 5 1"/>
<body name="ball" pos="0 0 1"><freejoint/><geom type="sphere" size=".25" rgba=".9 .1 .1 1"/></body>
</worldbody></mujoco>"""
CAMERA = Camera(np.array([-5.0, 0.0, 1.0]), np.array([0.0, 0.0, 1.0]), fovy=30.0, width=320, height=240)


def ball(z: float = 1.0, y: float = 0.0, **options: object) -> Actor:
    actor = Actor(mujoco.MjModel.from_xml_string(BALL), **options)  # type: ignore[arg-type]
    actor.pose(np.array([0.0, y, z]), np.array([0.0, 0.0, 0.0, 1.0]), np.zeros(0))
    return actor


def red(image: np.ndarray) -> np.ndarray:
    image = image.astype(int)
    return (image[..., 0] > image[..., 1] + 40) & (image[..., 0] > image[..., 2] + 40)


def test_silhouette_of_a_sphere_has_the_analytic_area() -> None:
    image = Scene([ball()]).render(CAMERA)
    # a sphere of radius r at distance d shows a disc of radius f r / sqrt(d^2 - r^2)
    radius = CAMERA.focal * 0.25 / math.sqrt(25.0 - 0.0625)
    assert abs(red(image).sum() / (math.pi * radius**2) - 1.0) < 0.03
    rows, cols = np.nonzero(red(image))
    assert abs(rows.mean() + 0.5 - 120) < 1.0 and abs(cols.mean() + 0.5 - 160) < 1.0


def test_left_is_left_and_up_is_up() -> None:
    rows, cols = np.nonzero(red(Scene([ball(z=1.5, y=0.8)]).render(CAMERA)))
    assert cols.mean() < 150 and rows.mean() < 110  # +y is to the left of a camera that looks along +x


def test_floor_below_a_body_is_darker_than_without_it() -> None:
    look_down = Camera(np.array([-4.0, 0.0, 3.0]), np.array([0.0, 0.0, 0.0]), width=320, height=240)
    lit = Scene([ball()], shadows=False).render(look_down).astype(int)
    dark = Scene([ball()]).render(look_down).astype(int)
    shaded = (lit.sum(-1) - dark.sum(-1)) > 60
    assert 50 < shaded.sum() < 5000
    assert not (dark.sum(-1) > lit.sum(-1) + 6).any()


def test_equal_input_gives_equal_pictures() -> None:
    assert np.array_equal(Scene([ball()]).render(CAMERA), Scene([ball()]).render(CAMERA))


def test_ghosts_let_the_floor_through() -> None:
    solid = Scene([ball()], shadows=False).render(CAMERA).astype(int)
    ghost = Scene([ball(alpha=0.3)], shadows=False).render(CAMERA).astype(int)
    empty = Scene([], shadows=False).render(CAMERA).astype(int)
    middle = (120, 160)
    far = np.abs(solid[middle] - empty[middle]).sum()
    assert 0 < np.abs(ghost[middle] - empty[middle]).sum() < far


def test_marks_lie_where_they_belong_on_the_floor() -> None:
    above = Camera(np.array([-4.0, 0.0, 3.0]), np.array([0.0, 0.0, 0.0]), width=320, height=240)
    marks = [Disc((0.0, 0.0, 1.0), 1.0, (1.0, 0.5), 0.15), Arrow((1.0, 0.0, 0.0), 1.0, (0.0, -0.5), (0.6, 0.0))]
    image = Scene([]).render(above, marks).astype(int)
    where, _ = above.project(np.array([[1.0, 0.5, 0.0], [0.3, -0.5, 0.0]]))
    disc, arrow = (image[int(y), int(x)] for x, y in where)
    assert disc[2] > disc[0] + 60 and arrow[0] > arrow[2] + 60


def test_camera_follows_and_does_not_shake() -> None:
    t = np.arange(120) / 30.0
    sway = np.stack([1.4 * t, 0.05 * np.sin(12 * t), 0.9 + 0.03 * np.sin(12 * t)], axis=-1)
    cameras = follow(sway, np.tile([0.0, 0.0, 0.0, 1.0], (120, 1)), 30.0)
    eyes = np.array([c.position for c in cameras])
    travel = eyes[90] - eyes[30]
    assert abs(travel[0] - 2.8) < 0.05
    assert np.abs(np.diff(eyes[10:-10], n=2, axis=0)).max() < 0.002
    for camera, place in zip(cameras, sway, strict=True):
        (x, y), _ = camera.project(place)
        assert 0.3 * 640 < x < 0.7 * 640 and 0.2 * 480 < y < 0.8 * 480
