"""The generator's command line and the configs that name the clips."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from isaacmm.character import CharacterModel
from isaacmm.gait.__main__ import main
from isaacmm.gait.generate import specs
from isaacmm.motion.sources import load_clips

CONFIGS = Path(__file__).resolve().parents[2] / "cfg" / "motion"


def test_makes_the_chosen_clips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path), "--only", "walk_0.?", "idle"]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["idle.npz", "walk_0.6.npz", "walk_0.8.npz"]
    assert "[ 3/3] idle" in capsys.readouterr().out


def test_lists_the_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    listed = capsys.readouterr().out
    assert all(s.name in listed for s in specs())


def test_compares_with_recorded_ranges(capsys: pytest.CaptureFixture[str]) -> None:
    motions = Path(__file__).resolve().parents[2] / "motions"
    assert main(["--out", str(motions), "--compare", str(motions / "run_4.0.npz")]) == 0
    said = capsys.readouterr().out
    assert "| running | run_2.6 | run_3.0 | run_3.4 | run_4.0 | recorded | published |" in said


def test_unknown_clip_is_answered_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "walk_9"]) == 2
    said = capsys.readouterr().err
    assert "walk_9" in said
    assert "walk_1.2" in said


def test_unwritable_folder_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    assert main(["--out", str(blocker / "in"), "--only", "idle"]) == 1
    assert str(blocker) in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(p.stem for p in CONFIGS.glob("*.yaml") if p.stem != "file"))
def test_configs_find_their_clips(name: str, humanoid: CharacterModel) -> None:
    config = OmegaConf.to_container(OmegaConf.load(CONFIGS / f"{name}.yaml"))
    assert isinstance(config, dict)
    assert config["name"] == name
    motions, weights = load_clips({str(k): v for k, v in config.items()}, humanoid)
    assert len(motions) == len(weights) > 0
    tags = {tag for m in motions for tag in m.tags}
    wanted = {"walk": {"walk", "straight", "turn-left", "turn-right"}, "walk_straight": {"walk", "straight"},
              "run": {"run", "straight", "turn-left", "turn-right"},
              "walk_turn": {"walk", "straight", "turn-left", "turn-right", "idle", "start", "stop", "turn-in-place",
                            "change"}}  # fmt: skip
    if name in wanted:
        assert tags == wanted[name]
    else:
        assert {"walk", "run", "idle"} <= tags
    if name == "full":
        assert {"turn-left", "turn-right", "turn-in-place", "start", "stop", "side", "back"} <= tags
        assert len(motions) == len(specs())
        # no kind is drowned
        for tag in ("idle", "start", "stop", "turn-in-place", "side", "back", "run"):
            share = sum(w for m, w in zip(motions, weights, strict=True) if tag in m.tags) / sum(weights)
            assert share > 0.03, tag
    # nothing needs repair
    assert {m.fps for m in motions} == {60.0}


def test_file_config_asks_for_a_clip() -> None:
    assert OmegaConf.is_missing(OmegaConf.load(CONFIGS / "file.yaml"), "clips")
