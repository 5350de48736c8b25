"""What a film of a steered world shows besides the character."""

from __future__ import annotations

import numpy as np
import torch

from isaacmm.character import CharacterModel
from isaacmm.render.hud import paste
from isaacmm.render.inset import Map
from isaacmm.render.playback import Track, dashes, frames, near

torch.set_num_threads(1)
CHARACTER = CharacterModel.load()


def standing(**more: object) -> Track:
    pos = np.tile([0.0, 0.0, 0.89], (1, 1))
    return Track(
        pos, np.array([[0.0, 0.0, 0.0, 1.0]]), np.zeros((1, 28)), np.array([[1.0, 0.0]]), np.ones(1), **more
    )  # type: ignore[arg-type]


def drawn(*tracks: Track) -> np.ndarray:
    return next(frames(CHARACTER, tracks, 30.0, width=240, height=180)).astype(int)


def test_every_mark_is_painted_on_the_floor() -> None:
    plain = drawn(standing())
    marks = {
        "facing": {"facing": np.array([1.5])},
        "future": {"future": np.array([[[0.5, 0.6], [0.8, 1.2]]])},
        "line": {"line": np.array([[-2.0, 0.8], [3.0, 0.8]])},
    }
    for name, more in marks.items():
        changed = np.abs(drawn(standing(**more)) - plain).sum(-1) > 30
        assert changed.sum() > 10, name
        assert changed[:40].sum() == 0, name  # nothing in the sky


def test_dashes_follow_the_line_and_far_ones_are_left_out() -> None:
    angle = np.linspace(0, 2 * np.pi, 200)
    made = dashes(3.0 * np.stack([np.cos(angle), np.sin(angle)], axis=-1))
    assert len(made) == int(np.ceil(6 * np.pi / 0.5))
    radii = [np.hypot(x, y) for dash in made for x, y in dash.points]
    assert max(radii) < 3.001 and min(radii) > 2.99
    assert near(made[0], np.zeros(2)) and not near(made[0], np.array([30.0, 0.0]))


def test_the_map_shows_the_way_so_far() -> None:
    way = np.stack([np.linspace(0, 5, 50), np.zeros(50)], axis=-1)
    chart = Map(way, np.zeros(50), way + [0.0, 1.0], size=64)
    pictures = [chart(f).astype(int) for f in (0, 25, 49)]
    orange = [((p[..., 0] - p[..., 2]) > 80).sum() for p in pictures]
    assert orange[0] < orange[1] < orange[2]
    blue = [((p[..., 2] - p[..., 0]) > 60).sum() for p in pictures]
    assert blue[0] > 20 and np.ptp(blue) < 0.3 * blue[0]  # the line asked for is there from the beginning
    appearing = Map(way, np.zeros(50), way + [0.0, 1.0], along=True, size=64)
    assert ((appearing(0)[..., 2].astype(int) - appearing(0)[..., 0]) > 60).sum() < 10


def test_pasting_stays_inside() -> None:
    image = np.zeros((40, 50, 3), dtype=np.uint8)
    paste(image, np.full((100, 100, 3), 255, dtype=np.uint8))
    assert image[-1, 0].sum() == 765 and image[0].sum() == 0
