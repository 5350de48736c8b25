"""Command scripts: what they command when, and what they say about bad files."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from isaacmm import steering
from isaacmm.errors import ConfigError
from isaacmm.steering import BUILTIN, CommandScript, RandomCommands, Step


def integrate(source: steering.Source, seconds: float, start_yaw: float = 0.0, dt: float = 1 / 60) -> torch.Tensor:
    """Where a point goes that does exactly what it is told: ``[T, 3]`` x, y, yaw."""
    pos, yaw = torch.zeros(1, 2), torch.full((1,), start_yaw)
    source.reset(torch.tensor([0]), pos, yaw)
    track = []
    for k in range(round(seconds / dt)):
        velocity, facing, _ = source.command(k * dt, pos, yaw)
        cos, sin = torch.cos(facing), torch.sin(facing)
        forward, left = velocity.unbind(-1)
        step = torch.stack((cos * forward - sin * left, sin * forward + cos * left), -1)
        pos, yaw = pos + step * dt, facing
        track.append(torch.cat((pos[0], yaw)))
    return torch.stack(track)


def test_steps_follow_each_other() -> None:
    script = CommandScript([Step(0.0, 1.0, turn=90.0), Step(2.0, 2.0), Step(3.0, 0.5, facing=45.0)], 4.0)
    velocity, facing, turn = script.at(torch.tensor([0.0, 1.0, 2.0, 2.5, 3.5, 99.0]))
    assert velocity[:, 0].tolist() == [1.0, 1.0, 2.0, 2.0, 0.5, 0.5]
    assert torch.allclose(facing, torch.deg2rad(torch.tensor([0.0, 90.0, 180.0, 180.0, 45.0, 45.0])))
    assert torch.allclose(turn, torch.deg2rad(torch.tensor([90.0, 90.0, 0.0, 0.0, 0.0, 0.0])))


def test_a_loop_goes_on_where_the_round_ended() -> None:
    script = CommandScript([Step(0.0, 1.0, turn=30.0)], 2.0, loop=True)
    _, facing, _ = script.at(torch.tensor([1.999, 2.001, 7.0]))
    assert torch.allclose(facing, torch.deg2rad(torch.tensor([59.97, 60.03, 210.0])), atol=1e-3)


def test_facings_count_from_where_a_character_began() -> None:
    script = CommandScript([Step(0.0, 1.0, facing=90.0)], 2.0)
    yaw = torch.tensor([0.3, -1.0])
    script.reset(torch.arange(2), torch.zeros(2, 2), yaw)
    assert torch.allclose(script.command(0.5, torch.zeros(2, 2), yaw + 0.7).facing, yaw + math.pi / 2)


@pytest.mark.parametrize("name", ["figure_eight", "circle"])
def test_round_scripts_return_to_their_beginning(name: str) -> None:
    script = BUILTIN[name]()
    track = integrate(script, script.duration)
    assert float(track[-1, :2].norm()) < 0.05
    assert float(track[:, :2].norm(dim=-1).max()) > 4.0


def test_square_has_four_corners() -> None:
    track = integrate(BUILTIN["square"](), 4 * 4.5)
    assert float(track[-1, :2].norm()) < 0.1
    assert abs(float(track[-1, 2]) - 2 * math.pi) < 0.03


@pytest.mark.parametrize("name", sorted(BUILTIN))
def test_builtin_scripts_are_sensible(name: str) -> None:
    script = BUILTIN[name]()
    assert script.name == name
    velocity, _, turn = script.at(torch.linspace(0, 2 * script.duration, 500))
    assert float(velocity.norm(dim=-1).max()) <= 3.0
    assert float(turn.abs().max()) <= math.radians(60.1)
    if name == "side_and_back":
        assert float(velocity[:, 0].min()) < 0 and float(velocity[:, 1].min()) < 0 < float(velocity[:, 1].max())


def test_files_of_the_project_and_their_formats(tmp_path: Path) -> None:
    for word in ("errand", "corridor"):
        source = steering.named(word)
        assert isinstance(source, CommandScript) and len(source.steps) >= 5
    assert isinstance(steering.follow("cfg/commands/round_trip.yaml"), steering.PathFollower)
    file = tmp_path / "a.json"
    file.write_text('{"steps": [{"time": 0, "mode": "walk"}, {"time": 1, "turn": 20, "forward": 1}]}')
    script = steering.named(str(file))
    assert isinstance(script, CommandScript) and script.steps[0].forward == steering.MODES["walk"][0]
    (tmp_path / "bare.yaml").write_text("- {time: 0, mode: walk}\n- {time: 1, mode: stand}\n")
    bare = steering.named(str(tmp_path / "bare.yaml"))
    assert isinstance(bare, CommandScript) and len(bare.steps) == 2


def test_a_path_of_the_project_by_name_and_at_another_speed(tmp_path: Path) -> None:
    assert steering.follow("round_trip").path.closed
    (tmp_path / "far.yaml").write_text("points: [[0, 0], [5, 0]]\nlookahead: 2\n")
    follower = steering.follow(str(tmp_path / "far.yaml"), 0.8)
    assert (follower.speed, follower.lookahead) == (0.8, 2.0)


BAD = {
    "a.yaml": [
        ("steps:\n  - {time: 0, mode: wlak}\n", ["line 2", "wlak", "'walk'"]),
        ("steps:\n  - {time: 0, mode: walk}\n  - {time: 1, trun: 3}\n", ["line 3", "trun", "'turn'"]),
        ("steps:\n  - {time: 0, mode: walk}\n  - {time: 0, mode: run}\n", ["times must rise"]),
        ("steps:\n  - {time: 1, mode: walk}\n", ["begins at 0"]),
        ("steps:\n  - {time: 0, turn: 3, facing: 4}\n", ["line 2", "both"]),
        ("steps:\n  - {time: 0, forward: fast}\n", ["line 2", "forward", "number"]),
        ("steps:\n  - {time: 0, mode: walk}\nlop: true\n", ["'lop'", "'loop'"]),
        ("steps: [\n", ["line 2", "not YAML"]),
        ("points: [[0, 0]]\n", ["2 or more points"]),
        ("nothing: 1\n", ["steps", "points"]),
        ("stps: []\n", ["did you mean 'steps'"]),
        ("hello\n", ["steps", "points"]),
        ("- walk\n", ["line 1", "a step is a mapping"]),
        ("steps: \x01\n", ["not YAML"]),
        ("loop: 'no'\nsteps: [{time: 0, mode: walk}]\n", ["loop", "true or false"]),
        ("steps: [{time: 0, forward: true}]\n", ["forward", "number"]),
        ("steps: [{time: 0, forward: 1000}]\n", ["1000 m/s", "more than 20"]),
        ("steps: [{time: 0, turn: -9999}]\n", ["deg/s", "more than 1080"]),
        ("duration: .inf\nsteps: [{time: 0, mode: walk}]\n", ["duration is inf"]),
        ("points: [[0, 0], [1.0e+10, 0]]\n", ["20 km", "metres"]),
        ("points: [[0, 0], [0.001, 0]]\n", ["0.001 m long"]),
        ("points: [[0, 0], [5, 0]]\nlookahead: 0\n", ["lookahead is from"]),
        ("points: [[0, 0], [5, 0]]\nlookahead: .nan\n", ["lookahead is from"]),
        ("points: [[0, 0], [5, 0]]\nspeed: .inf\n", ["at most 20 m/s"]),
    ],
    "a.csv": [
        ("time,mode\n0,walk\n1,rum\n", ["line 3", "'run'"]),
        ("# note\ntime,forward\n0,1\n\n1,x\n", ["line 5", "forward"]),
        ("time,forward\n0,1,2\n", ["line 2", "more values"]),
        ("time,forward\n", ["no steps"]),
        ('time,mode\n"0\n",walk\n', ["several lines"]),
    ],
    "a.json": [('{"steps": [}', ["line 1", "not JSON"]), ("[" * 100_000, ["nested"])],
    "a.txt": [("x", [".yaml"])],
}


@pytest.mark.parametrize(("name", "text", "said"), [(n, t, s) for n, cases in BAD.items() for t, s in cases])
def test_bad_files_are_refused_with_line_and_key(tmp_path: Path, name: str, text: str, said: list[str]) -> None:
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(ConfigError) as refusal:
        steering.named(str(file))
    assert all(word in str(refusal.value) for word in [*said, str(tmp_path)]), str(refusal.value)


def test_unknown_names_suggest_others(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="figure_eight"):
        steering.named("figure_eigth")
    with pytest.raises(ConfigError, match="slalom"):
        steering.follow("slalon")
    with pytest.raises(ConfigError, match="no command file"):
        steering.named(str(tmp_path / "none.yaml"))
    with pytest.raises(ConfigError, match="not a path"):
        steering.follow("cfg/commands/errand.yaml")


def test_random_commands_repeat_and_are_continuous() -> None:
    yaw, pos = torch.linspace(-3, 3, 64), torch.zeros(64, 2)
    one, two = RandomCommands(64, seed=3), RandomCommands(64, seed=3)
    for source in (one, two):
        source.reset(torch.arange(64), pos, yaw)
    before = one.command(0.0, pos, yaw)
    assert torch.allclose(before.facing, yaw)
    seen = []
    for k in range(1, 1200):
        now, same = one.command(k / 60, pos, yaw), two.command(k / 60, pos, yaw)
        assert torch.equal(now.facing, same.facing) and torch.equal(now.velocity, same.velocity)
        assert float((now.facing - before.facing).abs().max()) < 0.7 / 60 + 1e-4
        seen.append(now.velocity)
        before = now
    speed = torch.stack(seen).norm(dim=-1)
    assert float(speed.max()) > 2.5 and 0.05 < float((speed == 0).float().mean()) < 0.4
