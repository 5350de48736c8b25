"""The LAFAN1 protocol on any clips, and up-sampling measured the same way.

Windows of 65 frames; ten frames are told, then a gap of 5, 15, 30 or 45 is filled, with one frame behind it told.
Statistics come from windows of 50 frames of the clips that are learned from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.inbetween import metrics
from isaacmm.inbetween.clips import ClipPack
from isaacmm.inbetween.keys import Gaps, Windows, disturb, interpolate
from isaacmm.inbetween.masks import LONGEST, PAST, every_nth, gap_mask

GAPS = (5, 15, 30, 45)
RATES = (2, 4, 8, 16)
#: Spread of noisy keys in the denoising test (degrees), one key every so many frames.
NOISE_DEGREES, NOISE_EVERY = 3.0, 4
STATISTICS_WINDOW, STATISTICS_OFFSET = 50, 20
#: Test windows begin so many frames apart; closer together where that leaves too few of them.
OFFSETS, ENOUGH = (40, 20, 10, 5), 150

#: Fills windows: keys, where they are, the anchor frame of each window, noise of the keys (rad).
Fill = Callable[[Windows, Gaps, Tensor, Tensor], Windows]


def plain(windows: Windows, gaps: Gaps, anchor: Tensor, noise: Tensor) -> Windows:
    """The baseline: lerp and slerp."""
    return interpolate(windows, gaps)


def centred(windows: Windows, frame: int) -> Windows:
    """As the benchmark places windows: the mean root position over the origin, facing +x at ``frame``."""
    anchor = torch.full((len(windows.pos),), frame)
    turned = windows.canonical(anchor)
    middle = turned.pos.mean(dim=1, keepdim=True) * turned.pos.new_tensor([1.0, 1.0, 0.0])
    return replace(turned, pos=turned.pos - middle)


@dataclass(frozen=True)
class Statistics:
    """``mean, std [3 B]`` of global joint positions in centred windows."""

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, pack: ClipPack) -> Statistics:
        """From the clips that are learned from."""
        length = min(STATISTICS_WINDOW, pack.longest)
        starts = pack.starts(length, STATISTICS_OFFSET)
        pos = _world(pack, centred(pack.windows(starts, length), min(PAST, length) - 1))[0]
        flat = pos.flatten(-2).flatten(0, 1)
        # coordinates that never move (a root marker on the floor) would divide by nothing
        return cls(flat.mean(0), flat.std(0).clamp(min=1e-3))


def _world(pack: ClipPack, windows: Windows) -> tuple[Tensor, Tensor]:
    """Global positions ``[n, T, B, 3]`` and quaternions ``[n, T, B, 4]``."""
    matrix = rotation.to_matrix(windows.rot)
    pos, rot = pack.kinematics(windows.pos, matrix, windows.offsets[:, None])
    return pos, rotation.from_matrix(rot)


def choose(pack: ClipPack, length: int) -> tuple[Tensor, int]:
    """First frames of the test windows, and how far apart they are."""
    starts, offset = pack.starts(length, OFFSETS[0]), OFFSETS[0]
    for offset in OFFSETS:
        # the benchmark's windows end before a clip's last frame; where clips are scarce that one counts as well
        starts = pack.starts(length + (offset == OFFSETS[0]), offset)
        if len(starts) >= ENOUGH:
            break
    return starts, offset


def gap_scores(pack: ClipPack, statistics: Statistics, fill: Fill, gap: int, most: int = 2000) -> dict[str, float]:
    """L2Q, L2P, NPSS, mm and foot sliding (cm/s) of the ``gap`` frames that were filled; empty without windows."""
    length = LONGEST if len(pack.starts(LONGEST, OFFSETS[-1])) >= 20 else PAST + gap + 1
    known = gap_mask(PAST, gap, 1)
    starts, _ = choose(pack, length)
    if not len(starts):
        return {}
    windows = centred(pack.windows(starts[:most], length), PAST - 1)
    shown = _first(windows, len(known))
    return _scores(pack, statistics, fill, shown, starts[:most], known, slice(PAST, PAST + gap), PAST - 1, 0.0, shown)


def rate_scores(pack: ClipPack, statistics: Statistics, fill: Fill, every: int, most: int = 2000) -> dict[str, float]:
    """The same of the frames between keys that are ``every`` frames apart."""
    length = (min(LONGEST, pack.longest) - 1) // every * every + 1
    if length < 2 * every + 1:
        return {}
    starts, _ = choose(pack, length)
    known = every_nth(length, every)
    windows = centred(pack.windows(starts[:most], length), 0)
    anchor = (length // 2) // every * every
    return _scores(pack, statistics, fill, windows, starts[:most], known, ~known, anchor, 0.0, windows)


def noise_scores(pack: ClipPack, statistics: Statistics, fill: Fill, most: int = 2000) -> dict[str, float]:
    """The same of all frames when the keys are noisy."""
    length = (min(LONGEST, pack.longest) - 1) // NOISE_EVERY * NOISE_EVERY + 1
    starts, _ = choose(pack, length)
    if not len(starts):
        return {}
    known, noise = every_nth(length, NOISE_EVERY), NOISE_DEGREES * torch.pi / 180
    windows = centred(pack.windows(starts[:most], length), 0)
    generator = torch.Generator().manual_seed(0)
    noisy = disturb(windows, torch.full((len(windows.pos),), noise), generator)
    anchor = (length // 2) // NOISE_EVERY * NOISE_EVERY
    return _scores(pack, statistics, fill, noisy, starts[:most], known, slice(None), anchor, noise, windows)


def _first(windows: Windows, count: int) -> Windows:
    return replace(windows, pos=windows.pos[:, :count], rot=windows.rot[:, :count])


def _scores(
    pack: ClipPack, statistics: Statistics, fill: Fill, shown: Windows, starts: Tensor, known: Tensor,
    judged: slice | Tensor, anchor: int, noise: float, real: Windows,
) -> dict[str, float]:  # fmt: skip
    n, length = shown.pos.shape[:2]
    gaps = Gaps.of(known.expand(n, -1), (torch.arange(length) / pack.fps).expand(n, -1))
    at, spread = torch.full((n,), anchor), torch.full((n,), noise)
    parts = []
    for rows in torch.arange(n).split(64):
        some = Windows(shown.pos[rows], shown.rot[rows], shown.offsets[rows], shown.forward)
        places = Gaps(gaps.known[rows], gaps.before[rows], gaps.after[rows], gaps.seconds[rows])
        parts.append(fill(some, places, at[rows], spread[rows]))
    filled = Windows(torch.cat([p.pos for p in parts]), torch.cat([p.rot for p in parts]), shown.offsets)
    (pos, rot), (real_pos, real_rot) = _world(pack, filled), _world(pack, real)
    real_rot = rotation.make_continuous(real_rot.transpose(0, 1)).transpose(0, 1)
    rot = metrics.aligned(rot, real_rot)
    found = {
        "l2q": metrics.l2q(rot[:, judged], real_rot[:, judged]),
        "l2p": metrics.l2p(pos[:, judged], real_pos[:, judged], statistics.mean, statistics.std),
        "npss": metrics.npss(rot[:, judged].flatten(-2), real_rot[:, judged].flatten(-2)),
        "mpjpe": metrics.mpjpe(pos[:, judged], real_pos[:, judged]),
        "windows": float(n),
    }
    if pack.feet is not None and pack.touching is not None:
        ids = torch.tensor(pack.feet.bodies)
        touching = pack.touching[starts[:, None] + torch.arange(length)]
        for name, (p, q) in {"slide": (pos, rot), "slide_real": (real_pos, real_rot)}.items():
            points = p[:, :, ids] + rotation.rotate(q[:, :, ids], pack.feet.offsets.to(p))
            found[name] = metrics.foot_slide(points, touching, pack.fps)
    return found
