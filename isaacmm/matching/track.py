"""The ground track: where a character goes and faces, without the sway of its hips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.signal import savgol_filter
from torch import Tensor

from isaacmm import rotation

#: Savitzky-Golay windows in seconds, of position and facing (Holden et al. 2020, accompanying code: 31 and 61 frames
#: at 60 fps, order 3). The facing gets order 1: an order of 3 lets pass the hips' turning to and fro of a stride, which
#: takes about as long as the window.
POSITION_SECONDS, POSITION_ORDER = 31 / 60, 3
FACING_SECONDS, FACING_ORDER = 61 / 60, 1
#: Beyond a clip's ends the track goes on as it did on average over this time (s).
END_SECONDS = 0.5


@dataclass
class Track:
    """Rows ``[F]`` of all clips: ``position [F, 2]`` m, ``yaw [F]`` rad (continuous within a clip), world."""

    position: Tensor
    yaw: Tensor


def of_clips(root_pos: Tensor, root_rot: Tensor, first: Tensor, count: Tensor, rate: float) -> Track:
    """Tracks of clips that lie one after the other in ``root_pos [F, 3]`` and ``root_rot [F, 4]``.

    Position and facing direction of the root, projected on the ground and smoothed by Savitzky-Golay filters.
    """
    device = root_pos.device
    position = root_pos[:, :2].double().cpu().numpy().copy()
    yaw = rotation.yaw(root_rot).double().cpu().numpy().copy()
    for start, n in zip(first.tolist(), count.tolist(), strict=True):  # once, when the database is built
        rows = slice(start, start + n)
        position[rows] = _smooth(position[rows], POSITION_SECONDS * rate, POSITION_ORDER)
        # the angle itself: a line through its last half second keeps an even turn's rate up to the clip's end, one
        # through a direction's components does not (12 % too slow at 1.5 rad/s)
        yaw[rows] = _smooth(np.unwrap(yaw[rows]), FACING_SECONDS * rate, FACING_ORDER)
    return Track(torch.as_tensor(position).float().to(device), torch.as_tensor(yaw).float().to(device))


def _smooth(values: np.ndarray, window: float, order: int) -> np.ndarray:
    """Savitzky-Golay along the first axis; a clip shorter than the window gets a shorter one."""
    length = min(round(window) | 1, (len(values) - 1) | 1)
    if length > len(values):
        length -= 2
    if length <= order:
        return values
    return savgol_filter(values, length, order, axis=0, mode="interp")


def ahead(
    track: Track, first: Tensor, count: Tensor, clip: Tensor, rate: float, seconds: float
) -> tuple[Tensor, Tensor]:
    """Position ``[F, 2]`` and yaw ``[F]`` of every row's track ``seconds`` later, world.

    Past its clip's end a track goes on with the mean velocity and turn rate of the clip's last half second, on the
    arc that they describe: a walk that is cut off was going to walk on, a stop to stand.
    """
    step = round(seconds * rate)
    rows = torch.arange(len(clip), device=clip.device)
    last = first[clip] + count[clip] - 1
    target = torch.minimum(rows + step, last)
    over = (rows + step - target).to(track.yaw.dtype) / rate
    back = torch.maximum(last - max(1, round(END_SECONDS * rate)), first[clip])
    time = (last - back).clamp(min=1).to(track.yaw.dtype) / rate
    turn = (track.yaw[last] - track.yaw[back]) / time
    velocity = (track.position[last] - track.position[back]) / time[:, None]
    # the mean velocity points along the middle of that half second; turn it on to the clip's end
    angle = turn * (0.5 * time + 0.5 * over)
    cos, sin = torch.cos(angle), torch.sin(angle)
    # both are chords of that arc: shorter than it by sin(x) / x of half its angle
    shorter = torch.sinc(turn * over / (2.0 * torch.pi)) / torch.sinc(turn * time / (2.0 * torch.pi)).clamp(min=0.5)
    chord = (shorter * over)[:, None]
    turned = torch.stack(
        (cos * velocity[:, 0] - sin * velocity[:, 1], sin * velocity[:, 0] + cos * velocity[:, 1]), dim=-1
    )
    return track.position[target] + turned * chord, track.yaw[target] + turn * over
