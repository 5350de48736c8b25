"""Composition: what the words on the command line become."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from isaacmm import paths
from isaacmm.cli import settle
from isaacmm.cli.compose import compose, motion_from_path, options, parse
from isaacmm.errors import ConfigError, SimulatorError


def test_first_command_composes_for_two_cores(clip: str) -> None:
    cfg, notes = compose(["task=HumanoidAMP", "headless=True", clip])
    assert cfg.task.name == "HumanoidAMP"
    assert cfg.preset.name == "cpu"
    assert cfg.sim == "mujoco" and cfg.rl_device == "cpu"
    assert any("cpu" in note and "CUDA" in note for note in notes)
    assert not OmegaConf.missing_keys(cfg)


def test_every_shorthand_reaches_every_place_it_means(clip: str) -> None:
    cfg, _ = compose([clip, "num_envs=64", "max_iterations=2", "seed=7", "threads=1"])
    config = cfg.train.params.config
    assert (cfg.num_envs, cfg.task.env.num_envs, config.num_actors) == (64, 64, 64)
    assert (cfg.max_iterations, config.max_epochs) == (2, 2)
    assert (cfg.seed, cfg.train.params.seed) == (7, 7)
    assert cfg.train.params.torch_threads == 1


def test_empty_shorthands_are_filled_from_the_preset(clip: str) -> None:
    cfg, _ = compose([clip, "num_envs=", "max_iterations=''"])
    preset = OmegaConf.load(paths.data_folder("cfg") / "preset" / "cpu.yaml")
    assert cfg.num_envs == preset.task.env.num_envs == cfg.train.params.config.num_actors
    assert cfg.max_iterations == preset.train.params.config.max_epochs


def test_the_long_name_of_a_shorthand_works_too(clip: str) -> None:
    cfg, _ = compose([clip, "task.env.num_envs=32"])
    assert cfg.num_envs == 32 == cfg.train.params.config.num_actors
    with pytest.raises(ConfigError, match="disagree"):
        compose([clip, "task.env.num_envs=32", "num_envs=64"])


def test_classic_numbers_under_the_gpu_preset(clip: str) -> None:
    """The recipe of the classic AMP trainer: 4096 x 16, minibatches of 32768, 5e-5, penalty 5, reward x 2."""
    cfg, _ = compose([clip, "preset=gpu", "sim=mujoco", "sim_device=cpu", "rl_device=cpu"])
    config = cfg.train.params.config
    assert cfg.num_envs == 4096
    assert (config.horizon_length, config.minibatch_size, config.mini_epochs) == (16, 32768, 6)
    assert (config.learning_rate, config.disc_coef, config.disc_grad_penalty) == (5e-5, 5, 5)
    assert (config.disc_reward_scale, config.disc_logit_reg, config.disc_weight_decay) == (2, 0.05, 1e-4)
    assert list(cfg.train.params.network.disc.units) == [1024, 512]
    assert config.torch_compile is False


@pytest.mark.parametrize(
    ("cuda", "warp", "sim", "preset"),
    [
        (False, None, "", "cpu"),
        (True, None, "", "gpu"),
        (True, "warp-lang is not installed: pip install 'isaacmm[gpu]'", "", "cpu"),
        (True, None, "mujoco", "cpu"),
        (True, None, "warp", "gpu"),
    ],
)
def test_preset_follows_the_machine(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, warp: str | None, sim: str, preset: str
) -> None:
    monkeypatch.setattr(settle, "cuda_available", lambda: cuda)
    monkeypatch.setattr(settle, "simulators", lambda: {"mujoco": None, "warp": warp})
    groups: dict[str, str] = {}
    notes: list[str] = []
    settle.choose_preset(groups, sim, notes)
    assert groups["preset"] == preset
    if warp:
        assert "isaacmm[gpu]" in notes[0]


def test_a_named_preset_is_kept(clip: str) -> None:
    groups = {"preset": "gpu"}
    settle.choose_preset(groups, "", [])
    assert groups == {"preset": "gpu"}


def test_seed_minus_one_is_drawn_and_told(clip: str) -> None:
    cfg, notes = compose([clip, "seed=-1"])
    assert cfg.seed >= 0 and cfg.train.params.seed == cfg.seed
    assert any(str(cfg.seed) in note for note in notes)


def test_minibatch_follows_the_number_of_worlds(clip: str) -> None:
    cfg, notes = compose([clip, "num_envs=6"])
    config = cfg.train.params.config
    total = 6 * config.horizon_length
    assert total % config.minibatch_size == 0 and config.minibatch_size <= total // 2
    assert any("minibatch_size" in note for note in notes)


def test_a_minibatch_set_by_hand_is_refused_with_one_that_fits(clip: str) -> None:
    with pytest.raises(ConfigError, match=r"Nearest: 1024"):
        compose(
            [
                clip,
                "num_envs=128",
                "train.params.config.horizon_length=32",
                "train.params.config.minibatch_size=1000",
            ]
        )


# --- mistakes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("task=HumanoidAPM", "'HumanoidAMP'"),
        ("task=HumanoidXX", "tasks there are: "),
        ("preset=gpuu", "'gpu'"),
        ("train=HumanoidAMPPP", "'HumanoidAMPPPO'"),
        ("motion=nothing_like_it", "path to a clip"),
        ("train.params.config.reward_combin=mul", "'train.params.config.reward_combine'"),
        ("reward_combine=mul", "'train.params.config.reward_combine'"),
        ("numEnvs=3", "'num_envs'"),
        ("max-iterations=3", "'max_iterations'"),
        ("zork=1", "--cfg job"),
        ("train.params.config.reward_combine=foo", "mul, add, geo"),
        ("train.params.config.reward_combine=mull", "'mul'"),
        ("num_envs=-3", "Nearest: 1"),
        ("num_envs=2.5", "Nearest: 2"),
        ("num_envs=many", "whole number of at least 1"),
        ("num_envs=True", "whole number"),
        ("max_minutes=0", "greater than 0"),
        ("train.params.config.gamma=1.5", "Nearest: 1"),
        ("train.params.config.gamma=nan", "wants a number"),
        ("train.params.config.critic_coef=big", "wants a number"),
        ("train.params.network.mlp.units=512", r"[512,256]"),
        ("train.params.network.mlp.units=[512,0]", "Nearest: 1"),
        ("task.env.command.speed=fast", "'auto'"),
        ("task.env.command.speed=[2,1]", "Nearest: [1,2]"),
        ("task.env=3", "is a section"),
        ("headless=yes", "headless=True"),
        ("headless=off", "headless=False"),
        ("headless", "headless=True"),
        ("HumanoidAMP", "task=HumanoidAMP"),
        ("--num-envs=3", "num_envs=3"),
        ("--fast", "no such flag"),
        ("~seed", "key=value"),
        ("~seed=1", "cannot be removed"),
        ("seed=1,2", "-m"),
        ("sim=mojoco", "'mujoco'"),
        ("rl_device=cuda:0", "Nearest: rl_device=cpu"),
        ("rl_device=gpu", "cpu, cuda:0"),
        ("multi_gpu=True", "torchrun --standalone --nproc-per-node 2 launch.py multi_gpu=True"),
        ("ranks=2", "is counted, not set"),
        ("experiment=a/b", "experiment=b"),
        ("experiment=..", "plain folder name"),
        ("task.env.physics_hz=100", "Nearest: 90"),
        ("max_minutes=[1", "inner quotes"),
    ],
)
def test_mistakes_are_answered_with_the_nearest_valid_thing(clip: str, word: str, answer: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose([clip, *(["task=HumanoidAMP"] if "command.speed" in word else []), word])
    assert answer in str(caught.value)
    assert word.split("=")[0].lstrip("-") in str(caught.value)


def test_a_simulator_that_is_not_installed_says_how_to_get_it(
    clip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    why = "warp-lang is not installed: pip install 'isaacmm[gpu]'"
    monkeypatch.setattr(settle, "simulators", lambda: {"mujoco": None, "warp": why})
    with pytest.raises(SimulatorError, match=r"sim=warp is not available: .*pip install"):
        compose([clip, "sim=warp"])


def test_explicit_additions_are_allowed(clip: str) -> None:
    cfg, _ = compose([clip, "+train.params.config.my_own=3"])
    assert cfg.train.params.config.my_own == 3


def test_a_section_can_be_set_as_a_whole(clip: str) -> None:
    cfg, _ = compose([clip, "task=HumanoidAMP", "task.env.command={speed: [1.0, 2.0]}"])
    assert list(cfg.task.env.command.speed) == [1.0, 2.0]
    assert "heading_change" in cfg.task.env.command
    with pytest.raises(ConfigError, match="lower end"):
        compose([clip, "task=HumanoidAMP", "task.env.command={speed: [2.0, 1.0]}"])


def test_later_words_win(clip: str) -> None:
    assert compose([clip, "seed=1", "seed=2"])[0].seed == 2


def test_a_value_without_default_is_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"motion\.clips has no default"):
        compose(["motion=file"])
    assert compose(["motion=file", "motion.clips=[a.bvh]"])[0].motion.clips[0] == "a.bvh"


def test_option_names_may_carry_their_ending() -> None:
    assert parse(["task=HumanoidAMP.yaml"]).groups == {"task": "HumanoidAMP"}


def test_presets_and_tasks_pass_their_own_rules(clip: str) -> None:
    for task in options("task"):
        compose([clip, f"task={task}"])
    for preset in options("preset"):
        compose([clip, f"preset={preset}", "sim=mujoco", "sim_device=cpu", "rl_device=cpu"])


# --- motion=PATH ------------------------------------------------------------------------------------


def test_motion_takes_a_file_with_spaces(clip: str, workplace: Path) -> None:
    cfg, _ = compose([clip])
    assert cfg.motion.name == "my walk"
    assert [dict(entry) for entry in cfg.motion.clips] == [
        {"file": str(workplace / "my walk.npz"), "weight": 1.0}
    ]


def test_motion_takes_a_folder_and_a_pattern(workplace: Path) -> None:
    folder = workplace / "clips"
    folder.mkdir()
    (folder / "a.bvh").write_text("")
    assert motion_from_path("clips")["clips"] == [{"file": str(folder), "weight": 1.0}]
    assert compose(["motion=clips"])[0].motion.name == "clips"
    assert compose(["motion=clips/*.bvh"])[0].motion.clips[0].file == str(folder / "*.bvh")
    with pytest.raises(ConfigError, match="no file fits"):
        compose(["motion=clips/*.npy"])


def test_motion_takes_a_yaml_of_ones_own(workplace: Path) -> None:
    (workplace / "mine.yaml").write_text("clips:\n  - {file: a.bvh, weight: 2.0}\nloop: False\n")
    motion = motion_from_path("mine.yaml")
    assert motion["name"] == "mine" and motion["loop"] is False and motion["clips"][0]["weight"] == 2.0
    (workplace / "bad.yaml").write_text("- 1\n")
    with pytest.raises(ConfigError, match="lists its clips"):
        motion_from_path("bad.yaml")


def test_a_missing_motion_path_names_what_is_nearby(clip: str) -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'my walk.npz'"):
        compose(["motion=my walc.npz"])
    with pytest.raises(ConfigError, match="there is no such file or folder"):
        compose(["motion=/nowhere/at/all.npz"])


def test_a_misspelt_motion_names_the_one_that_was_meant() -> None:
    with pytest.raises(ConfigError, match="did you mean 'full'"):
        compose(["motion=fulll"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["task.env.track_reference=True"], "track_reference does nothing"),
        (["train.params.config.disc_mismatch=0.5"], "disc_mismatch does nothing"),
        (["train.params.config.disc_cond=proj", "task.env.demo_sampler=uniform"], "disc_mismatch=0 leaves that out"),
    ],
)
def test_settings_without_effect_are_told(words: list[str], said: str) -> None:
    assert any(said in note for note in compose(["task=HumanoidMM", *words])[1])
    quiet = ["task=HumanoidMM", "train.params.config.disc_cond=proj"]
    assert not any("disc_mismatch" in note for note in compose(quiet)[1])


def test_motions_are_found_without_a_checkout(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A regular install has cfg/ and motions/ inside the package."""
    data = workplace / "isaacmm" / "_data"
    (data / "motions").mkdir(parents=True)
    (data / "motions" / "a.npz").write_bytes(b"")
    (data / "cfg").symlink_to(paths.CHECKOUT / "cfg")
    mine = workplace / "mine.yaml"
    mine.write_text("clips: [{file: motions/a.npz}]\n")
    monkeypatch.setattr(paths, "PACKAGE", workplace / "isaacmm")
    monkeypatch.setattr(paths, "CHECKOUT", workplace)
    assert not paths.is_checkout()
    cfg, _ = compose(["motion=mine.yaml"])
    assert cfg.motion.clips[0].file == str(data / "motions" / "a.npz")


def test_a_motion_path_takes_settings_of_its_own(tmp_path: Path) -> None:
    clip = tmp_path / "step.npz"
    clip.write_bytes(b"")
    cfg, _ = compose([f"motion={clip}", "motion.repair=False"])
    assert cfg.motion.repair is False and cfg.motion.clips[0].file == str(clip)
