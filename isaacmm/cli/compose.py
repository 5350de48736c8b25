"""From the words on a command line to one complete, checked configuration.

Hydra composes the yaml files of ``cfg/``. Around it: every word is checked before anything heavy is
imported, a mistake is answered with the nearest thing that exists, the preset is chosen by what the
machine has, ``motion=`` takes a path, and a checkpoint brings the configuration it was trained with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from isaacmm import paths
from isaacmm.cli import fits, keys, runs, settle
from isaacmm.errors import CheckpointError, ConfigError, nearest

GROUPS = ("task", "train", "motion", "character", "preset")
# Groups that shape the networks: a checkpoint only fits what it was trained with.
FIXED_BY_CHECKPOINT = ("task", "train", "character", "preset")
# Keys that say what to do now and never come from an earlier run.
SESSION = (
    *("test", "checkpoint", "resume", "experiment", "runs_dir", "debug", "headless", "command", "multi_gpu"),
    *("export_bvh", "export_onnx", "export_video", "capture_video"),
)
# Values that are paths or free text, in which Hydra's grammar would trip over spaces and signs.
RAW = ("motion", "checkpoint", "command", "experiment", "runs_dir")
MOTION_SUFFIXES = (".npz", ".npy", ".bvh", ".pkl", ".json", ".txt", ".csv", ".motion", ".amc", ".xml", ".fbx")


@dataclass
class Words:
    """A command line taken apart.

    Attributes:
        groups: chosen option of each config group that was named (``task``, ``motion``, ...).
        values: the other overrides in order, as Hydra parsed them.
        motion_path: what ``motion=`` names when it is a path.
    """

    groups: dict[str, str] = field(default_factory=dict)
    values: list[Override] = field(default_factory=list)
    motion_path: str | None = None

    def value(self, key: str, default: Any) -> Any:
        """The last value given to ``key``, or ``default``."""
        given = [override.value() for override in self.values if override.key_or_group == key]
        return given[-1] if given else default


def compose(words: Sequence[str]) -> tuple[DictConfig, list[str]]:
    """Compose and check the configuration that ``words`` (``key=value`` each) describe.

    Returns:
        The resolved configuration, and sentences about what was decided on the way.

    Raises:
        ConfigError: an unknown key or impossible value; the message names the nearest valid ones.
        CheckpointError: a checkpoint or run to start from is not there.
        SimulatorError: the simulator asked for cannot run here.
    """
    notes: list[str] = []
    given = parse(words)
    earlier = _earlier_run(given, notes)
    if earlier.config is None:
        if not fits.is_fit(given.groups.get("task")):
            settle.choose_preset(given.groups, str(given.value("sim", "")), notes)
        base = _from_files(given.groups, clips=given.motion_path is None)
    else:
        base = _from_earlier(earlier, given)
    cfg = _apply(base, given)
    if earlier.config is not None and "sim" not in _keys_of(given) and not cfg.resume:
        settle.fall_back_to_cpu(cfg, notes)
    _record_start(cfg, earlier)
    if not paths.is_checkout():
        _locate_clips(cfg)
    settle.settle(cfg, _keys_of(given), notes)
    _check_all(cfg)
    return cfg, notes


# --- words ------------------------------------------------------------------------------------------


def parse(words: Sequence[str]) -> Words:
    """Take the words apart; groups are checked here, keys and values later."""
    found = Words()
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(_not_an_override(word))
        if key.startswith("-"):
            plain = key.lstrip("-").replace("-", "_")
            raise ConfigError(f"{word}: settings are written without dashes here: {plain}={value}")
        if key.startswith("~"):
            raise ConfigError(f"{word}: a key cannot be removed; set it to another value instead.")
        if key in RAW and not value.startswith(("'", '"', "{", "[")):
            text = _expand(value)
            word = f"{key}='{text}'".replace("\\", "\\\\") if "'" not in text else f'{key}="{text}"'
        try:
            override = OverridesParser.create().parse_override(word)
        except HydraException as error:
            raise ConfigError(
                f"cannot read {word!r}: values with spaces or signs want inner quotes, like \"{key}='...'\"."
            ) from error
        if override.is_sweep_override():
            raise ConfigError(f"{word}: several values at once make several runs; ask for them with -m.")
        name = override.key_or_group
        if name in GROUPS:
            _choose(found, name, override.value())
        else:
            found.values.append(override)
    return found


def _expand(value: str) -> str:
    return str(Path(value).expanduser()) if value.startswith("~") else value


def _not_an_override(word: str) -> str:
    plain = word.lstrip("-").replace("-", "_")
    if plain in options("task"):
        return f"{word}: write task={plain}"
    if word.startswith("-"):
        return (
            f"{word}: no such flag; settings are written as key=value, like {plain}=... (--help lists them)."
        )
    if plain in keys.RULES and keys.RULES[plain].kind == "bool":
        return f"{word}: wants a value: {plain}=True"
    return f"{word}: settings are written as key=value, like task=HumanoidAMP (--help lists them)."


def _choose(found: Words, group: str, value: Any) -> None:
    text = str(value)
    if group == "motion" and _is_path(text):
        found.motion_path = text
        found.groups.pop("motion", None)
        return
    valid = options(group)
    text = text.removesuffix(".yaml")
    if text not in valid:
        existing = ", ".join(valid) if valid else "none"
        hint = nearest(text, valid)
        hint = f"{hint} " if hint.startswith("did") else ""
        path = " A path to a clip or a folder of clips works too." if group == "motion" else ""
        raise ConfigError(
            f"{group}={text}: no such {group}; {hint}{_plural(group)} there are: {existing}.{path}"
        )
    found.groups[group] = text
    if group == "motion":
        found.motion_path = None


def _plural(group: str) -> str:
    return {"train": "train configs"}.get(group, f"{group}s")


def options(group: str) -> list[str]:
    """Names of the yaml files in ``cfg/<group>/``."""
    return sorted(path.stem for path in (paths.data_folder("cfg") / group).glob("*.yaml"))


def _keys_of(given: Words) -> set[str]:
    return {override.key_or_group for override in given.values}


# --- composing --------------------------------------------------------------------------------------


def _from_files(groups: dict[str, str], clips: bool = True) -> DictConfig:
    """Compose ``cfg/`` with these options; ``clips=False`` leaves the motion section out."""
    folder = paths.data_folder("cfg")
    if not (folder / "config.yaml").is_file():
        raise ConfigError(f"the configuration folder {folder} is missing; install the project again.")
    groups = dict(groups)
    more: list[str] = []
    task = groups.get("task")
    fitted = fits.is_fit(task)
    if fitted:
        groups, more = fits.groups_for(groups, options("train"))
    elif task and "train" not in groups and f"{task}PPO" not in options("train"):
        raise ConfigError(f"task={task}: there is no cfg/train/{task}PPO.yaml; name one with train=.")
    elif groups.get("train", "PPO").endswith("Fit"):
        raise ConfigError(f"train={groups['train']}: is for networks that learn from clips alone, not for a policy.")
    overrides = [*(f"{group}={name}" for group, name in groups.items()), *more]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(folder)):
            cfg = hydra_compose("config", overrides=overrides if clips else [*overrides, "~motion"])
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        raise ConfigError(f"the files in {folder} do not compose: {error}") from error
    if fitted:
        fits.prepare(cfg)
    return cfg


@dataclass
class _Earlier:
    """An earlier run to start from: its checkpoint (None: not there yet) and its configuration."""

    checkpoint: Path | None = None
    folder: Path | None = None
    config: DictConfig | None = None


def _earlier_run(given: Words, notes: list[str]) -> _Earlier:
    """What ``resume=``, ``checkpoint=`` and ``test=`` start from."""
    runs_dir = Path(str(given.value("runs_dir", "runs")))
    text = str(given.value("checkpoint", ""))
    testing = given.value("test", False) is True
    if given.value("resume", False) is True:
        if testing:
            raise ConfigError("test=True and resume=True: one plays, the other trains; give one of them.")
        return _run_to_resume(text, str(given.value("experiment", "")), runs_dir, notes)
    if testing and not text:
        text = "latest"
        notes.append("no checkpoint= given: playing the newest.")
    task = given.groups.get("task")
    if text == "latest" and fits.is_fit(task):
        text = str(runs.latest_of_task(str(task), runs_dir))
    if not text:
        return _Earlier()
    checkpoint = runs.find_checkpoint(text, runs_dir)
    folder = runs.run_of(checkpoint)
    return _Earlier(checkpoint, folder, _saved_config(folder) if folder else _config_inside(checkpoint))


def _run_to_resume(text: str, name: str, runs_dir: Path, notes: list[str]) -> _Earlier:
    if text and text != "latest":
        checkpoint = runs.find_checkpoint(text, runs_dir)
        folder = runs.run_of(checkpoint)
        if folder is None:
            raise CheckpointError(
                f"resume=True: {checkpoint} lies in no run folder (a config.yaml belongs beside nn/). "
                "Without resume=True its weights can start a new run."
            )
        return _Earlier(checkpoint, folder, _saved_config(folder))
    folder = runs.find_run(name or "latest", runs_dir)
    files = runs.checkpoints(folder)
    if not files:
        notes.append(f"{folder.name} was stopped before its first checkpoint: it starts again.")
    return _Earlier(files[0] if files else None, folder, _saved_config(folder))


def _saved_config(folder: Path) -> DictConfig:
    path = folder / runs.CONFIG_FILE
    try:
        saved = OmegaConf.load(path)
    except (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    return _as_run_config(saved, path)


def _config_inside(checkpoint: Path) -> DictConfig:
    """The configuration that a checkpoint away from its run folder carries itself."""
    from isaacmm.learn.checkpoint import load

    return _as_run_config(OmegaConf.create(load(checkpoint).get("config") or {}), checkpoint)


def _as_run_config(saved: Any, path: Path) -> DictConfig:
    if isinstance(saved, DictConfig) and all(section in saved for section in ("task", "train", "motion")):
        return saved
    raise CheckpointError(f"{path} has no configuration of a run in it: no task, train and motion.")


def _from_earlier(earlier: _Earlier, given: Words) -> DictConfig:
    """The earlier run's configuration, with defaults for keys that are newer than it."""
    saved = earlier.config
    assert saved is not None
    chosen = {
        "task": OmegaConf.select(saved, "task.name"),
        "preset": OmegaConf.select(saved, "preset.name"),
        "character": OmegaConf.select(saved, "character.name"),
    }
    for group, name in given.groups.items():
        had = chosen.get(group)
        if (
            group in FIXED_BY_CHECKPOINT
            and name != had
            and not (group == "train" and name in (f"{chosen['task']}PPO", f"{chosen['task']}Fit"))
        ):
            was = f"{group}={had}" if had else f"another {group}"
            raise ConfigError(
                f"{group}={name}: the checkpoint was made with {was}, which its networks depend on."
            )
    known = {group: name for group, name in chosen.items() if name in options(group)}
    if "motion" in given.groups:
        known["motion"] = given.groups["motion"]
    if chosen["task"] not in options("task"):
        raise CheckpointError(
            f"the run was made for task {chosen['task']}, which is not there any more; "
            f"tasks there are: {', '.join(options('task'))}."
        )
    fresh = _from_files(known, clips="motion" in known)
    merged = OmegaConf.merge(
        fresh, {key: value for key, value in saved.items() if key not in (*SESSION, "motion")}
    )
    assert isinstance(merged, DictConfig)
    if "motion" not in given.groups:
        OmegaConf.update(merged, "motion", saved.motion, force_add=True)
    return merged


def _apply(base: DictConfig, given: Words) -> DictConfig:
    """``base`` with the words' values, each checked against the key's rule or kind."""
    if given.motion_path is not None:  # first, so that motion.repair=False can change it
        OmegaConf.update(base, "motion", motion_from_path(given.motion_path), merge=False, force_add=True)
    known = keys.leaves(base)
    sections = {key.rsplit(".", depth)[0] for key in known for depth in range(1, key.count(".") + 1)}
    for override in given.values:
        key, value = override.key_or_group, override.value()
        added = override.is_add() or override.is_force_add()
        if not added and key not in known and key not in sections:
            task = OmegaConf.select(base, "task.name")
            if fits.is_fit(task) and (why := fits.refusal(task, key)):
                raise ConfigError(why)
            raise ConfigError(f"{key}: there is no such key; {keys.nearest_keys(key, known)}")
        if key in sections and not isinstance(value, dict):
            inside = sorted(name for name in known if name.startswith(key + "."))[:4]
            raise ConfigError(f"{key} is a section; set a key in it, for example {', '.join(inside)}.")
        if not isinstance(value, dict):
            keys.check(key, value, known.get(key))
        OmegaConf.update(base, key, value, force_add=added)
    return base


# --- motion=PATH ------------------------------------------------------------------------------------


def _is_path(text: str) -> bool:
    if Path(text).suffix.lower() in MOTION_SUFFIXES or any(sign in text for sign in "/\\*?~"):
        return True
    return text not in options("motion") and Path(text).exists()


def motion_from_path(text: str) -> dict[str, Any]:
    """The ``motion`` section for a clip, a folder of clips, a glob, or a motion yaml of one's own.

    Raises:
        ConfigError: nothing is there.
    """
    path = Path(text).expanduser()
    plain = not path.suffix and path.name == text  # a name, not a place
    if any(sign in text for sign in "*?"):
        where, name = path.absolute(), path.parent.name
        anchor = Path(where.anchor)
        if not any(True for _ in anchor.glob(str(where.relative_to(anchor)))):
            raise ConfigError(f"motion={text}: no file fits this pattern.")
        return {
            "name": name or "clips",
            "clips": [{"file": str(where), "weight": 1.0}],
            "loop": True,
            "repair": True,
        }
    if not path.exists():
        path = paths.resolve(path)
    if not path.exists():
        folder = path.parent
        while not folder.is_dir():
            folder = folder.parent
        there = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
        missing = path.relative_to(folder).parts[0]
        hint = nearest(missing, there) if there else "the folder is empty"
        named = f" Motions by name: {', '.join(options('motion'))}." if options("motion") else ""
        close = nearest(text, options("motion"))
        if plain and close.startswith("did you mean"):
            raise ConfigError(f"motion={text}: there is no such file or folder; {close}{named}")
        raise ConfigError(f"motion={text}: there is no such file or folder. In {folder}: {hint[:300]}{named}")
    if path.suffix.lower() in (".yaml", ".yml"):
        section = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
        if not isinstance(section, dict) or "clips" not in section:
            raise ConfigError(f"motion={text}: a motion yaml lists its clips: [{{file: ..., weight: 1.0}}].")
        return {"name": path.stem, "loop": True, "repair": True, **section}
    clips = [{"file": str(path.absolute()), "weight": 1.0}]
    return {"name": path.stem, "clips": clips, "loop": True, "repair": True}


def _locate_clips(cfg: DictConfig) -> None:
    """In a regular install the motions lie inside the package: say where, as absolute paths."""
    for clip in cfg.motion.get("clips", []):
        if isinstance(clip, DictConfig) and str(clip.get("file", "")).startswith("motions/"):
            clip.file = str(paths.data_folder("motions") / str(clip.file).removeprefix("motions/"))


# --- the last word ----------------------------------------------------------------------------------


def _record_start(cfg: DictConfig, earlier: _Earlier) -> None:
    cfg.checkpoint = str(earlier.checkpoint) if earlier.checkpoint else ""
    if cfg.resume and earlier.folder is not None:
        cfg.runs_dir = str(earlier.folder.parent)
        cfg.experiment = earlier.folder.name
    elif cfg.experiment:
        runs.check_name(str(cfg.experiment))


def _check_all(cfg: DictConfig) -> None:
    """Every rule once more on the result: a preset or yaml of one's own can be wrong as well."""
    if missing := sorted(OmegaConf.missing_keys(cfg)):
        raise ConfigError(f"{missing[0]} has no default: give it a value, {missing[0]}=...")
    OmegaConf.resolve(cfg)
    for key in keys.RULES:
        value = OmegaConf.select(cfg, key)
        if value is not None:
            keys.check(key, value)
    if not isinstance(cfg.motion.get("clips", None), ListConfig | None):
        raise ConfigError(
            f"motion.clips={keys.show(cfg.motion.clips)}: wants a list of {{file: ..., weight: 1.0}}."
        )
    if not fits.is_fit(cfg.task.name):
        settle.check_simulator(str(cfg.sim), str(cfg.get("physics") or ""))
