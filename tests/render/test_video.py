"""Films are re-read; the small tools answer mistakes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from isaacmm import rotation
from isaacmm.character import CharacterModel
from isaacmm.errors import IsaacmmError
from isaacmm.export import video
from isaacmm.motion.__main__ import main
from isaacmm.motion.clip import Motion
from isaacmm.render.playback import frames

torch.set_num_threads(1)
CHARACTER = CharacterModel.load()


def clip(count: int = 12, fps: float = 30.0) -> Motion:
    pos = torch.zeros(count, 3)
    pos[:, 0] = torch.arange(count) / fps * 1.2
    pos[:, 2] = 0.89
    rot = torch.tensor([0.0, 0.0, 0.0, 1.0]).expand(count, 4).clone()
    swing = 0.4 * torch.sin(torch.arange(count) / fps * 6.0)
    dof = torch.zeros(count, 28)
    dof[:, CHARACTER.skeleton.dof("right_hip_y")] = swing
    dof[:, CHARACTER.skeleton.dof("left_hip_y")] = -swing
    return Motion.from_dofs(CHARACTER.skeleton, pos, rot, dof, fps, "stroll")


def test_film_has_every_frame_at_the_right_rate_and_size(tmp_path: Path) -> None:
    path = video.film_motion(CHARACTER, clip(), tmp_path / "a.mp4", size=(161, 120))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        pictures = [f.to_ndarray(format="rgb24") for f in container.decode(stream)]
        assert float(stream.average_rate or 0) == pytest.approx(30.0)
    assert len(pictures) == 12 and pictures[0].shape == (120, 160, 3)
    assert np.abs(pictures[0].astype(int) - pictures[-1]).mean() > 0.5
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4"]


def test_no_frames_is_an_error_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(IsaacmmError, match="no frames"):
        video.write_video(tmp_path / "b.mp4", iter(()), 30.0)
    assert not list(tmp_path.iterdir())


def test_a_failing_renderer_leaves_an_earlier_film_alone(tmp_path: Path) -> None:
    (tmp_path / "c.mp4").write_bytes(b"earlier")

    def broken() -> object:
        yield np.zeros((32, 32, 3), dtype=np.uint8)
        raise RuntimeError("lamp out")

    with pytest.raises(RuntimeError, match="lamp out"):
        video.write_video(tmp_path / "c.mp4", broken(), 30.0)  # type: ignore[arg-type]
    assert (tmp_path / "c.mp4").read_bytes() == b"earlier" and len(list(tmp_path.iterdir())) == 1


def test_contacts_light_the_feet_and_commands_draw_arrows() -> None:
    track = video.motion_track(CHARACTER, clip(3))
    plain = next(frames(CHARACTER, [track], 30.0, width=160, height=120)).astype(int)
    track.contact = np.ones((3, 2), dtype=bool)
    track.direction, track.speed = np.tile([1.0, 0.0], (3, 1)), np.full(3, 1.2)
    drawn = next(frames(CHARACTER, [track], 30.0, width=160, height=120)).astype(int)
    changed = np.abs(drawn - plain).sum(-1) > 40
    assert changed[60:].sum() > 30 and changed[:30].sum() == 0


def test_strip_shows_several_figures() -> None:
    image = video.strip_of(CHARACTER, video.motion_track(CHARACTER, clip(60)), 30.0, poses=3, size=(240, 80))
    assert image.shape == (80, 240, 3) and image.std() > 5


def _figures(image: np.ndarray) -> int:
    """How many there are side by side: columns with a head or shoulders in them, and gaps between."""
    upper = image[: image.shape[0] // 3].astype(int)
    busy = (np.abs(upper - upper[:, :1]).sum(-1) > 60).any(0)
    return int((np.diff(busy.astype(int)) == 1).sum())


@pytest.mark.parametrize("name", ["humanoid", "g1"])
def test_figures_of_a_strip_do_not_hide_each_other(name: str) -> None:
    character = CharacterModel.load(name)
    joints = character.skeleton.dofs_to_joint_rot(torch.zeros(60, character.skeleton.num_dofs))
    pos = torch.tensor([[0.0, 0.0, 0.9]]).repeat(60, 1)
    still = Motion(character.skeleton, pos, torch.tensor([[0.0, 0.0, 0.0, 1.0]]).repeat(60, 1), joints, 30.0)
    turning = rotation.from_yaw(torch.linspace(0.0, 3.0, 60))
    for motion in (still, replace(still, root_rot=turning)):
        image = video.strip_of(character, video.motion_track(character, motion), 30.0, poses=4, size=(480, 150))
        assert _figures(image) == 4


def test_tools(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "stroll.npz"
    clip().save(source)
    assert main(["inspect", str(source)]) == 0
    assert "12 at 30 fps" in capsys.readouterr().out
    assert main(["convert", str(source), str(tmp_path / "stroll.bvh")]) == 0
    assert main(["view", str(tmp_path / "stroll.npz"), "--out", str(tmp_path / "s.png")]) == 0
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")
    assert main(["view", str(tmp_path / "strol.npz")]) == 2
    assert "stroll.npz" in capsys.readouterr().err
    assert main(["view", str(source), "--out", str(tmp_path / "s.gif")]) == 2
    assert ".mp4" in capsys.readouterr().err


def test_inspect_names_nan_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = clip()
    broken.root_pos[5, 0] = float("nan")
    broken.save(tmp_path / "broken.npz")
    assert main(["inspect", str(tmp_path / "broken.npz")]) == 0
    assert "NaN" in capsys.readouterr().out
