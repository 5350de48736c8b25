"""The demo: a character follows commands by motion matching alone, and is filmed."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from tqdm import tqdm

from isaacmm import steering
from isaacmm.cli.console import StopRequest
from isaacmm.errors import ConfigError, nearest
from isaacmm.evaluate.session import number, split, truth, whole
from isaacmm.matching.controller import Controller, Frame
from isaacmm.matching.controller.recording import Recording
from isaacmm.matching.controller.root import turned
from isaacmm.steering import Keyboard, PathFollower, RandomCommands, Source
from isaacmm.steering.source import FASTEST

KEYS = ("command", "path", "speed", "seconds", "motion", "networks", "out", "fps", "seed", "film", "width", "height")


def run(words: list[str]) -> None:
    """``demo`` with its words; see ``python -m isaacmm.matching --help``."""
    own, rest = split(words, KEYS)
    for word in rest:
        raise ConfigError(f"demo does not know '{word}'; {nearest(word.partition('=')[0], KEYS)}")
    if "command" in own and "path" in own:
        raise ConfigError("demo: give command= (a script) or path= (a line on the ground to follow), not both")
    if "networks" in own and "motion" in own:
        raise ConfigError("demo: give motion= (clips to search) or networks= (which were made from clips), not both")
    if "speed" in own and "path" not in own:
        raise ConfigError("demo: speed= is for path=; a script says itself how fast to go")
    seconds, fps = number(own, "seconds", 20.0, 0.5, 3600.0), number(own, "fps", 60.0, 10.0, 480.0)
    size = (whole(own, "width", 640, 64, 4096), whole(own, "height", 480, 64, 4096))
    film = truth(own, "film", True)
    seed = whole(own, "seed", 0, low=0)
    word = own.get("path") or own.get("command", "figure_eight")
    live = word == "keyboard" and "path" not in own
    keyboard = Keyboard() if live else None  # no terminal: say so before minutes of work
    out = Path(own.get("out", f"demo_{Path(word).stem}"))
    if out.suffix:
        raise ConfigError(f"out={out}: names a folder; the files in it are motion.bvh, motion.npz, film.mp4, ...")
    source: Source
    if keyboard is not None:
        source = keyboard
    elif "path" in own:
        source = steering.follow(word, number(own, "speed", 1.3, 0.1, FASTEST) if "speed" in own else None)
    elif word == "random":
        source = RandomCommands(1, seed)
    else:
        source = steering.named(word)
    controller = _controller(own, fps)
    began = time.perf_counter()
    with _typing(keyboard, fps) if keyboard is not None else _progress(round(seconds * fps)) as watch:
        frames = controller.play(source, seconds, watch)
    spent = time.perf_counter() - began
    print(f"{len(frames)} frames of {word} in {spent:.1f} s")
    if len(frames) < 2:
        raise ConfigError("the demo was ended before it had two frames")
    recording = Recording(controller, frames)
    for line in recording.numbers().lines():
        print(f"  {line}")
    if isinstance(source, PathFollower):
        error = source.error(recording["track_pos"])
        print(f"  distance from path  {float(error.mean()):.2f} m on average, {float(error.max()):.2f} m at most")
    write(recording, frames, source, out, word, size if film else None)


def _controller(own: dict[str, str], fps: float) -> Controller:
    """Driven by clips, or by networks that were made from clips."""
    if "networks" in own:
        from isaacmm.learned_matching.controller import LearnedController

        learned = LearnedController.from_run(own["networks"], fps=fps)
        print(f"networks of {learned.meta['clips']} clips, {learned.model.memory() / 1e6:.1f} MB at {fps:g} Hz")
        return learned
    controller = Controller.load(own.get("motion", "full"), fps=fps)
    database, library = controller.database, controller.database.library
    print(f"{library.num_clips} clips, {library.total_seconds:.0f} s, {len(database)} rows at {fps:g} Hz")
    return controller


def write(
    recording: Recording, frames: list[Frame], source: Source, out: Path, name: str, size: tuple[int, int] | None
) -> None:
    """The files of a demo: clip, picture, strip and, with a ``size``, film."""
    from isaacmm.export import bvh, video
    from isaacmm.matching import picture
    from isaacmm.render.playback import Track
    from isaacmm.render.playback import frames as pictures
    from isaacmm.render.png import write_png

    controller = recording.controller
    motion = controller.motion(frames, name=f"matched_{Path(name).stem}")
    out.mkdir(parents=True, exist_ok=True)
    written = bvh.write(motion, out / "motion.bvh")
    motion.save(out / "motion.npz")
    start = recording["track_pos"][0], recording["track_yaw"][0]
    line = source.line(*start)[0] if isinstance(source, PathFollower) else None
    (out / "picture.png").write_bytes(picture.draw(recording, line))
    every = max(1, round(recording.fps / 30))
    part = slice(0, None, every)
    wanted = recording.commanded_velocity()[part, 0].cpu().numpy()
    speed = (wanted**2).sum(-1) ** 0.5
    track = Track(
        recording["root_pos"][part, 0].cpu().numpy(),
        recording["root_rot"][part, 0].cpu().numpy(),
        recording["dof_pos"][part, 0].cpu().numpy(),
        wanted / speed.clip(min=1e-6)[:, None],
        speed,
        recording["locked"][part, 0].cpu().numpy(),
    )
    fps = recording.fps / every
    begin = min(round(2 * fps), max(0, len(speed) - 2))
    shown = Track(*(getattr(track, k)[begin:] for k in ("root_pos", "root_rot", "dof_pos")))
    write_png(out / "strip.png", video.strip_of(controller.character, shown, fps))
    files = f"motion.bvh (read back within {written.error_mm:.3f} mm), motion.npz, picture.png, strip.png"
    if size is not None:
        actual = recording.velocity()[part, 0].norm(dim=-1).cpu().numpy()

        def caption(f: int) -> str:
            return f"{name}\ncommanded {speed[f]:.1f} m/s\nactual {actual[f]:.1f} m/s\n{f / fps:4.1f} s"

        images = pictures(controller.character, [track], fps, width=size[0], height=size[1], caption=caption)
        video.write_video(out / "film.mp4", images, fps, len(speed))
        files += ", film.mp4"
    print(f"wrote {out}: {files}")


@contextmanager
def _progress(count: int) -> Iterator[Callable[[Frame], bool]]:
    """A bar while ``count`` frames are made."""
    with tqdm(total=count, desc="matching", unit="frame", leave=False, dynamic_ncols=True, mininterval=1.0) as bar:

        def watch(frame: Frame) -> bool:
            bar.update()
            return True

        yield watch


@contextmanager
def _typing(keyboard: Keyboard, fps: float) -> Iterator[Callable[[Frame], bool]]:
    """Frames come in real time, and a line of text says what is asked for and what happens."""
    print(steering.keyboard.HELP)
    begun, count = time.perf_counter(), 0
    last = torch.zeros(2)

    def watch(frame: Frame) -> bool:
        nonlocal count, last
        count += 1
        late = begun + count / fps - time.perf_counter()
        if late > 0:
            time.sleep(late)
        if count % max(1, round(fps / 10)) == 0:
            pos = frame.track_pos[0]
            speed = float((pos - last).norm()) * fps / max(1, round(fps / 10))
            last = pos.clone()
            x, y = pos.tolist()
            ahead = turned(torch.tensor([[1.0, 0.0]]), frame.track_yaw[:1].cpu())[0]
            arrow = "→↗↑↖←↙↓↘"[round(float(torch.atan2(ahead[1], ahead[0])) / 0.7853981633974483) % 8]
            print(
                f"\rasked {keyboard.forward:+.1f} forward {keyboard.left:+.1f} left   going {speed:.1f} m/s {arrow}   "
                f"at {x:+6.1f} {y:+6.1f} m   {count / fps:5.1f} s ",
                end="",
                flush=True,
                file=sys.stderr,
            )
        return not (keyboard.ended or stop)

    stop = StopRequest("Ending here; what was walked so far is written. Once more ends at once.")
    with keyboard, stop.installed():
        try:
            yield watch
        finally:
            print(file=sys.stderr)
