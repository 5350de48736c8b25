"""Command scripts that come with the project."""

from __future__ import annotations

from collections.abc import Callable

from isaacmm.steering.script import CommandScript, Step


def straight() -> CommandScript:
    """Walk straight on."""
    return CommandScript([Step(0.0, 1.3)], 20.0, loop=True, name="straight")


def circle() -> CommandScript:
    """Walk a left-hand circle of 3 m radius."""
    return CommandScript([Step(0.0, 1.2, turn=22.9183)], 15.708, loop=True, name="circle")


def figure_eight() -> CommandScript:
    """Walk two circles of 2.4 m radius, left about, then right about."""
    half = 360.0 / 28.65
    return CommandScript(
        [Step(0.0, 1.2, turn=28.65), Step(half, 1.2, turn=-28.65)], 2 * half, loop=True, name="figure_eight"
    )


def slalom() -> CommandScript:
    """Walk a wave: turn 35 degrees to one side, 70 to the other, and so on."""
    steps = [Step(0.0, 1.3), Step(1.0, 1.3, turn=35.0)]
    for i in range(6):
        steps.append(Step(2.0 + 2.0 * i, 1.3, turn=-35.0 if i % 2 == 0 else 35.0))
    steps.append(Step(14.0, 1.3, turn=-35.0))
    return CommandScript(steps, 15.0, loop=True, name="slalom")


def stop_and_go() -> CommandScript:
    """Walk three seconds, stand two, again and again; slower, then faster."""
    steps = []
    for i, speed in enumerate((1.2, 0.8, 1.6)):
        steps += [Step(5.0 * i, speed), Step(5.0 * i + 3.0)]
    return CommandScript(steps, 15.0, loop=True, name="stop_and_go")


def square() -> CommandScript:
    """Walk four sides of about 4 m, turning left at the corners."""
    return CommandScript([Step(0.0, 1.3), Step(3.0, 1.0, turn=60.0)], 4.5, loop=True, name="square")


def walk_run() -> CommandScript:
    """Stand, stroll, walk, run, and back down again."""
    speeds = (0.0, 0.8, 1.4, 2.4, 3.0, 2.4, 1.4, 0.0)
    times = (0.0, 1.5, 4.0, 7.0, 10.0, 13.0, 15.5, 18.5)
    return CommandScript([Step(t, v) for t, v in zip(times, speeds, strict=True)], 21.0, loop=True, name="walk_run")


def side_and_back() -> CommandScript:
    """Facing one way all along: sideways to both sides, backwards, and forwards again."""
    ways = ((0.0, 0.0), (0.0, 0.6), (0.0, 0.0), (0.0, -0.6), (-0.7, 0.0), (1.2, 0.0), (0.0, 0.0))
    times = (0.0, 1.0, 4.0, 5.5, 8.5, 12.0, 14.5)
    steps = [Step(t, forward, left) for t, (forward, left) in zip(times, ways, strict=True)]
    return CommandScript(steps, 16.0, loop=True, name="side_and_back")


BUILTIN: dict[str, Callable[[], CommandScript]] = {
    f.__name__: f for f in (straight, circle, figure_eight, slalom, stop_and_go, square, walk_run, side_and_back)
}
