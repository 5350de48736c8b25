"""What is said where Isaac Lab cannot run, and how its physics is chosen. Needs no Isaac Lab."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import gymnasium as gym
import pytest
import torch

from isaacmm.character import CharacterModel
from isaacmm.cli.compose import compose
from isaacmm.errors import ConfigError, SimulatorError
from isaacmm.sim import available, make_simulator, registry
from isaacmm.sim import isaaclab_scene as scenes
from isaacmm.sim import isaaclab_setup as setup
from isaacmm.sim.warp_setup import check_device

MODEL = CharacterModel.load("humanoid")
#: What goes together, as installed by the commands of docs/simulators.md.
GOOD = {
    "isaaclab": "3.0.0", "newton": "1.6.1", "warp-lang": "1.17.0", "mujoco": "3.17.0", "mujoco-warp": "3.12.0",
    "usd-exchange": "3.0.1", "ovphysx": "0.6.4.72118723", "ovstage": "0.2.1.385922",
}  # fmt: skip
REQUIRES = {
    "isaaclab": [
        "numpy>=2", "warp-lang==1.17.0", "newton[sim]==1.6.1", "usd-exchange==3.0.1",
        'ovphysx==0.6.4.72118723; extra == "ovphysx"', 'ovstage==0.2.1.385922; extra == "ovphysx"',
    ],
    "newton": ["warp-lang>=1.17", 'mujoco~=3.12.0; extra == "sim"', 'mujoco-warp~=3.12.0; extra == "sim"'],
}  # fmt: skip


def versions(**changes: str | None) -> Callable[[str], str | None]:
    """Finds versions of a made-up machine; ``mujoco_warp="1"`` changes one, None takes it away."""
    there = GOOD | {name.replace("_", "-"): version for name, version in changes.items()}
    return lambda package: there.get(package)


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isaacmm.sim.isaaclab_setup.metadata.requires", REQUIRES.get)


@pytest.mark.usefixtures("declared")
@pytest.mark.parametrize(
    ("physics", "python", "changes", "says"),
    [
        ("newton", (3, 11), {"isaaclab": None}, "needs Python 3.12 and an environment of its own, this is Python 3.11"),
        ("newton", (3, 13), {"isaaclab": None}, "this is Python 3.13"),
        ("newton", (3, 12), {"isaaclab": None}, "the package isaaclab is not installed"),
        ("newton", (3, 11), {"isaaclab": "2.3.2.post1"}, "isaaclab 2.3.2.post1 needs all of Isaac Sim"),
        ("newton", (3, 12), {"isaaclab": "4.1.0"}, "written for 3.x: pip install 'isaaclab>=3.0,<4'"),
        ("newton", (3, 12), {"newton": None}, "newton is not installed: pip install 'isaaclab==3.0.0'"),
        ("ovphysx", (3, 12), {"ovphysx": None, "ovstage": None}, r"ovphysx and ovstage are .* 'isaaclab\[ovphysx\]==3"),
        ("physx", (3, 12), {}, r"runs inside Isaac Sim, and isaacsim is not installed: .*isaaclab\[isaacsim\]==3.0.0"),
        ("newton", (3, 12), {"warp_lang": "1.19.0"}, "isaaclab 3.0.0 was made for warp-lang ==1.17.0, here is 1.19.0"),
        ("newton", (3, 12), {"newton": "1.8.0"}, "made for newton ==1.6.1, here is 1.8.0: pip install --no-deps"),
        ("newton", (3, 12), {"mujoco_warp": "3.17.0"}, "newton 1.6.1 was made for mujoco-warp ~=3.12.0, here is 3.17"),
        ("newton", (3, 12), {"mujoco": "3.11.0"}, "made for mujoco ~=3.12.0, here is 3.11.0"),
    ],
)
def test_reasons(physics: str, python: tuple[int, int], changes: dict[str, str | None], says: str) -> None:
    reason = setup.unavailable(physics, versions(**changes), python)
    assert reason is not None
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(reason)


@pytest.mark.usefixtures("declared")
@pytest.mark.parametrize("changes", [{}, {"mujoco": "3.12.0"}, {"mujoco": "3.18.2"}, {"mujoco_warp": "3.12.4"}])
def test_what_goes_together(changes: dict[str, str | None]) -> None:
    """A MuJoCo that is newer than newton asks for is fine: the contract ran so."""
    assert setup.unavailable("newton", versions(**changes), (3, 12)) is None
    assert setup.unavailable("ovphysx", versions(**changes), (3, 12)) is None


def test_physics_is_chosen_for_isaaclab_only() -> None:
    with pytest.raises(ConfigError, match="physics=newtn: no such physics; did you mean 'newton'"):
        registry.unavailable("isaaclab", "newtn")
    with pytest.raises(ConfigError, match="only sim=isaaclab has a choice of physics, sim=mujoco has its own"):
        make_simulator("mujoco", MODEL, {"physics": "newton"})
    assert [label for label in registry.flavours() if "+" in label] == [f"isaaclab+{name}" for name in setup.PHYSICS]


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        (["sim=isaaclab", "physics=bullet"], ConfigError, "physics=bullet: no such physics; valid: newton, ovphysx"),
        (["sim=mujoco", "physics=newton"], ConfigError, "only sim=isaaclab has a choice"),
        (["physics=[a]"], ConfigError, "physics="),
        (["sim=isaaclab", "rl_device=cuda:0"], ConfigError, "cuda"),
    ],
)
def test_command_line_refuses(words: list[str], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        compose(["task=HumanoidAMP", "motion=walk_straight", *words])


@pytest.mark.skipif(available()["isaaclab"] is None, reason="Isaac Lab is here")
@pytest.mark.parametrize("words", [[], ["physics=newton"], ["physics=ovphysx"], ["physics=physx"]])
def test_command_line_says_what_is_missing(words: list[str]) -> None:
    with pytest.raises(SimulatorError, match=r"sim=isaaclab.* is not available: .*(Isaac|isaaclab)"):
        compose(["task=HumanoidAMP", "motion=walk_straight", "sim=isaaclab", *words])
    with pytest.raises(SimulatorError, match="'isaaclab' is not available"):
        make_simulator("isaaclab", MODEL, {"physics": (words or ["="])[0].partition("=")[2]})


def test_a_simulator_without_choice_forgets_the_physics_of_an_earlier_run() -> None:
    from isaacmm.cli import settle

    cfg, _ = compose(["task=HumanoidAMP", "motion=walk_straight", "sim=mujoco"])
    cfg.physics = "ovphysx"  # as a run on Isaac Lab saved it
    settle.settle_physics(cfg, {"sim"})
    assert cfg.physics == ""


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpu_asked_for_and_absent() -> None:
    with pytest.raises(SimulatorError, match=r"sim_device=cuda:0: (this PyTorch .* without CUDA|no NVIDIA GPU)"):
        check_device(torch.device("cuda:0"), "isaaclab")
    with pytest.raises(SimulatorError, match="sim=isaaclab runs on cpu and cuda"):
        check_device(torch.device("meta"), "isaaclab")


@pytest.mark.skipif(available()["warp"] is not None, reason="the size of a world is asked from MuJoCo Warp")
def test_too_many_worlds_for_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a GPU has no room: the engine's error becomes a number of worlds that fits."""
    from isaacmm.sim import SimConfig
    from isaacmm.sim.isaaclab import IsaacLabSimulator

    def full(*_: object) -> None:
        raise RuntimeError("Failed to allocate 9000000000 bytes on device 'cuda:0'")

    monkeypatch.setattr(setup, "prepare", lambda *_: None)
    monkeypatch.setattr(scenes, "build", full)
    monkeypatch.setattr("isaacmm.sim.warp_setup._free_bytes", lambda _: 10**9)
    with pytest.raises(SimulatorError, match=r"no memory for 100000 worlds \(\d+ kB each .* try num_envs=\d+$"):
        IsaacLabSimulator(MODEL, SimConfig(num_envs=100000))


def test_lost_hinges_are_named() -> None:
    """PhysX kept 12 of 28, with a warning, of joints with three hinges."""
    names = list(MODEL.skeleton.dof_names)
    scenes.check_hinges(names, names, "ovphysx")
    with pytest.raises(SimulatorError, match=r"of 28 hinges 26 arrived in the engine; missing: left_ankle_z, neck_x$"):
        scenes.check_hinges([n for n in names if n not in ("neck_x", "left_ankle_z")], names, "ovphysx")
    with pytest.raises(SimulatorError, match="in another order"):
        scenes.check_hinges(names[::-1], names, "newton")


# ------------------------------------------------------------------------- the task


def test_task_is_registered_without_isaac_lab() -> None:
    code = (
        "import sys, gymnasium, isaacmm.isaaclab_task as task;"
        "assert all(id in gymnasium.registry for id in task.TASKS);"
        "sys.exit('isaaclab' in sys.modules or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(available()["isaaclab"] is None, reason="Isaac Lab is here")
def test_task_says_what_is_missing() -> None:
    import isaacmm.isaaclab_task as task

    for name in task.TASKS:
        with pytest.raises(SimulatorError, match=r"as an Isaac Lab task cannot be made here: .*(Isaac Lab|isaaclab)"):
            gym.make(name)
