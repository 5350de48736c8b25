"""The text of ``--help``, put together from what is there."""

from __future__ import annotations

import textwrap
from pathlib import Path

from omegaconf import OmegaConf

from isaacmm import __version__, paths
from isaacmm.cli.compose import options

_PAGE = 118  # columns

_COMMANDS = (
    ("python launch.py task=HumanoidMM headless=True", "train; the folder of the run is printed"),
    ("python launch.py resume=True", "go on with the newest run (or experiment=NAME)"),
    ("python launch.py test=True checkpoint=latest", "play a checkpoint; export BVH and ONNX"),
    ("python launch.py test=True checkpoint=latest capture_video=True", "the same, filmed"),
    ("python launch.py test=True checkpoint=latest command=figure_eight", "steer it by a script; film, BVH, plot"),
    ("python launch.py motion=path/to/clip.bvh", "train on a clip, or folder of clips, of your own"),
    ("python launch.py -m seed=1,2,3", "several runs, one after the other (jobs=2: two at a time)"),
    ("torchrun --standalone --nproc-per-node 2 launch.py multi_gpu=True", "one run in two processes, one per GPU"),
    ("python launch.py --cfg job task", "print the configuration, or one section of it"),
)

_RELATED = (
    ("python -m isaacmm.motion inspect CLIP", "what is in a motion file"),
    ("python -m isaacmm.motion view CLIP", "film it"),
    ("python -m isaacmm.motion upsample CLIP OUT rate=8", "frames between frames, by a run of task=MotionInbetween"),
    ("python -m isaacmm.evaluate checkpoint=latest", "measure a policy beside its clips"),
    ("python -m isaacmm.export checkpoint=latest", "BVH, ONNX or film of a policy"),
    ("python -m isaacmm.matching demo command=figure_eight", "motion matching alone: a character on a path"),
    ("python -m isaacmm.experiment ablation=matching", "compare settings over several seeds"),
    ("python -m isaacmm.gait", "make the clips in motions/"),
)

_KEYS = (
    ("train.params.config.reward_combine", "mul | add | geo: how task and style reward come together"),
    ("task.env.reference", "none | observe | residual: how much the policy is told about the clip that answers"),
    ("task.env.demo_sampler", "matched_twin | matched_state | hindsight | stratified | uniform: clips shown as real"),
    ("train.params.config.disc_cond", "proj | concat | none: how the discriminator is told the command"),
    ("task.env.command.modes.walk.forward", "range of the walking speed, m/s; likewise run, side, back, ..."),
)


def help_text() -> str:
    """What ``--help`` prints."""
    from isaacmm.steering import BUILTIN, PATHS

    scripts = [("scripts", ", ".join(BUILTIN)), ("paths", ", ".join(f"path:{name}" for name in PATHS))]
    parts = [
        f"isaacmm {__version__}: trains simulated characters that move on command in the style of clips.",
        "usage: python launch.py [key=value ...]",
        _columns("Commands", _COMMANDS, 66),
        _group("task", "Tasks (task=)"),
        _group("preset", "Presets (preset=, chosen by itself when not given)"),
        _group("motion", "Motions (motion=, or a path to a clip, a folder of clips or a yaml)"),
        _columns("Commands for test=True (command=, or a .yaml, .json or .csv file, or keyboard)", scripts, 22),
        _columns("Simulators (sim=)", _simulators(), 22),
        _columns("Keys and defaults", _top_level(), 42),
        _columns("Further keys often set (--cfg job prints all)", _further(), 42),
        _columns("Related tools", _RELATED, 66),
        "Flags: --help, --version, --cfg job [SECTION], -m. debug=True shows tracebacks.",
    ]
    return "\n\n".join(part for part in parts if part)


def _columns(title: str, rows: tuple[tuple[str, str], ...] | list[tuple[str, str]], width: int) -> str:
    """``title`` over two columns; the right one is wrapped."""
    lines = [f"{title}:"] if rows else []
    for left, right in rows:
        first, *rest = textwrap.wrap(right, max(_PAGE - width - 3, 40)) or [""]
        lines.append(f"  {left:<{width}} {first}".rstrip())
        lines += [" " * (width + 3) + line for line in rest]
    return "\n".join(lines)


def _group(group: str, title: str) -> str:
    folder = paths.data_folder("cfg") / group
    return _columns(title, [(name, first_comment(folder / f"{name}.yaml")) for name in options(group)], 22)


def first_comment(path: Path) -> str:
    """The first sentence-like comment of a yaml file (Hydra's ``@package`` line is none)."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            text = line.lstrip("# ").strip()
            if text and not text.startswith("@"):
                return text
        elif line.strip():
            break
    return ""


def _simulators() -> list[tuple[str, str]]:
    from isaacmm.cli.settle import simulators

    return [(name, "ready" if why is None else why) for name, why in simulators().items()]


def _top_level() -> list[tuple[str, str]]:
    """Keys of cfg/config.yaml with the comments that stand behind them."""
    rows = []
    for line in (paths.data_folder("cfg") / "config.yaml").read_text(encoding="utf-8").splitlines():
        text, _, comment = line.partition("#")
        key, colon, value = text.partition(":")
        if colon and key and not key.startswith((" ", "-")) and key.strip() != "defaults":
            rows.append((f"{key.strip()}={value.strip()}", comment.strip()))
    return rows


def _further() -> list[tuple[str, str]]:
    folder = paths.data_folder("cfg")
    defaults = {
        "task": OmegaConf.load(folder / "task" / "HumanoidMM.yaml"),
        "train": OmegaConf.merge(*(OmegaConf.load(folder / "train" / f"Humanoid{t}PPO.yaml") for t in ("AMP", "MM"))),
    }
    cfg = OmegaConf.create(defaults)
    return [(f"{key}={OmegaConf.select(cfg, key)}", text) for key, text in _KEYS]
