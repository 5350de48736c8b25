"""Controllers side by side, following the same commands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from isaacmm import steering
from isaacmm.export.video import write_video
from isaacmm.matching.controller import Controller, Recording
from isaacmm.render.playback import Track
from isaacmm.render.playback import frames as pictures


def film(
    controllers: Mapping[str, Controller], command: str, seconds: float, out: Path, size: tuple[int, int] = (960, 400)
) -> None:
    """A film with one picture per controller, each with its name, speed and number of transitions.

    Args:
        controllers: by name, of one character and the same frame rate each.
        command: script.
        seconds: how long.
        out: the file.
        size: of the whole, in pixels.
    """
    recordings = {
        name: Recording(c, c.play(steering.named(command), seconds)) for name, c in controllers.items()
    }
    width = size[0] // len(recordings)
    panels = [_panel(name, r, (width - width % 2, size[1] - size[1] % 2)) for name, r in recordings.items()]
    first = next(iter(recordings.values()))
    images = (np.concatenate(row, axis=1) for row in zip(*panels, strict=True))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_video(out, images, first.fps, len(first["root_pos"]))


def _panel(name: str, recording: Recording, size: tuple[int, int]) -> Iterator[np.ndarray]:
    wanted = recording.commanded_velocity()[:, 0].cpu().numpy()
    speed = (wanted**2).sum(-1) ** 0.5
    track = Track(
        recording["root_pos"][:, 0].cpu().numpy(),
        recording["root_rot"][:, 0].cpu().numpy(),
        recording["dof_pos"][:, 0].cpu().numpy(),
        wanted / speed.clip(min=1e-6)[:, None],
        speed,
        recording["locked"][:, 0].cpu().numpy(),
    )
    actual = recording.velocity()[:, 0].norm(dim=-1).cpu().numpy()
    jumps = recording["jumped"][:, 0].cumsum(0).cpu().numpy()

    def caption(f: int) -> str:
        return f"{name}\n{speed[f]:.1f} m/s asked\n{actual[f]:.1f} m/s\n{jumps[f]} jumps"

    character = recording.controller.character
    return pictures(character, [track], recording.fps, width=size[0], height=size[1], caption=caption)
