"""Which values a key may have: one table, and the check that reads it.

Keys not in the table are checked for their kind only (a number stays a number), so that a new
number in a yaml file needs no entry here.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from isaacmm.errors import ConfigError, nearest


@dataclass(frozen=True)
class Rule:
    """What a key accepts.

    Attributes:
        kind: ``int``, ``number``, ``bool``, ``text``, ``choice``, ``pair`` (two ascending numbers),
            ``units`` (a list of layer widths) or ``device``.
        low, high: inclusive limits of a number, of each of a pair, or of each width.
        above: the number must be strictly greater than ``low``.
        choices: of ``choice``; for other kinds these words are accepted besides (``null``: no value at all).
        empty: whether ``''`` ("from the preset") is accepted.
    """

    kind: str
    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    choices: tuple[str, ...] = ()
    empty: bool = False


def _whole(low: float = 1, empty: bool = False) -> Rule:
    return Rule("int", low=low, empty=empty)


def _positive() -> Rule:
    return Rule("number", low=0, above=True)


def _at_least_zero(high: float = math.inf) -> Rule:
    return Rule("number", low=0, high=high)


def _one_of(*choices: str) -> Rule:
    return Rule("choice", choices=choices)


_CONFIG = "train.params.config."
_ENV = "task.env."
#: Of LearnedMM's losses (:class:`isaacmm.learned_matching.losses.Weights`, which would bring torch here).
_FIT_WEIGHTS = (
    "bodies", "ground", "contact", "size", "smooth", "step_x", "step_z", "step_rate", "step_pose", "step_soles",
    "astray", "project_x", "project_z", "project_distance",
)  # fmt: skip

RULES: dict[str, Rule] = {
    # top level
    "test": Rule("bool"),
    "checkpoint": Rule("text", empty=True),
    "command": Rule("text", empty=True),
    "resume": Rule("bool"),
    "experiment": Rule("text", empty=True),
    "runs_dir": Rule("text"),
    "wandb": Rule("text", empty=True),
    "seed": Rule("int", low=-1, high=2**31 - 1),
    "num_envs": _whole(empty=True),
    "max_iterations": _whole(empty=True),
    "max_minutes": Rule("number", low=0, above=True, empty=True),
    "sim": Rule("text"),  # against the simulators really there: compose.check_simulator
    "physics": Rule("text", empty=True),  # likewise
    "sim_device": Rule("device"),
    "rl_device": Rule("device"),
    "multi_gpu": Rule("bool"),
    "ranks": _whole(),
    "shard_clips": Rule("bool"),
    "threads": _whole(low=0),
    "nconmax": _whole(low=0),
    "njmax": _whole(low=0),
    "headless": Rule("bool"),
    "export_bvh": Rule("bool"),
    "export_onnx": Rule("bool"),
    "export_video": Rule("bool"),
    "capture_video": Rule("bool"),
    "debug": Rule("bool"),
    # the task
    _ENV + "num_envs": _whole(),
    _ENV + "episode_seconds": _positive(),
    _ENV + "control_hz": _positive(),
    _ENV + "physics_hz": _positive(),
    _ENV + "action": _one_of("classic", "radians"),
    _ENV + "reference": _one_of("none", "observe", "residual"),
    _ENV + "amp_frames": _whole(),
    _ENV + "dof_observation": _one_of("tan_norm", "angles"),
    _ENV + "track_reference": Rule("bool"),
    _ENV + "reward.sharpness": _positive(),
    _ENV + "reward.facing": _at_least_zero(),
    _ENV + "reward.slowest": _positive(),
    _ENV + "task_reward": _one_of("steering", "local", "classic", "locomotion"),
    _ENV + "demo_sampler": _one_of("uniform", "stratified", "hindsight", "matched_twin", "matched_state"),
    _ENV + "matching.search": _one_of("auto", "brute", "boxes"),
    _ENV + "matching.every_seconds": _positive(),
    _ENV + "matching.stay_bias": _at_least_zero(),
    _ENV + "matching.tail_seconds": _at_least_zero(),
    _ENV + "command.halflife": _positive(),
    _ENV + "command.leash": _at_least_zero(math.pi),
    _ENV + "command.speed": Rule("pair", low=0, high=20, choices=("auto",)),
    _ENV + "command.start": _one_of("clip", "random"),
    _ENV + "command.heading_change": _at_least_zero(math.pi),
    _ENV + "command.resample_seconds": Rule("pair", low=0, above=True),
    _ENV + "termination.pelvis_height": _at_least_zero(),
    _ENV + "termination.head_height": _at_least_zero(),
    _ENV + "reset": _one_of("random", "matched", "default"),
    # fits (isaacmm.learn.fit)
    "task.held_out": Rule("text"),  # a share, or a pattern of names
    "task.fps": _positive(),
    "task.rate": _positive(),
    "task.batch": _whole(),
    "task.mirror": Rule("bool"),
    "task.skeleton": _one_of("auto", "character", "own"),
    "task.network.width": _whole(),
    "task.network.layers": _whole(),
    "task.network.heads": _whole(),
    "task.network.dropout": Rule("number", low=0, high=0.99),
    "task.pose": _one_of("auto", "columns", "expmap", "dofs"),
    "task.prefer_expmap": Rule("bool"),
    "task.width": _whole(),
    "task.latent": _whole(),
    "task.halvings": Rule("int", low=0, high=6),
    "task.depth": _whole(low=0),
    "task.growth": _whole(),
    "task.codes": _whole(low=2),
    "task.layers": _whole(),
    "task.layer_dropout": _at_least_zero(1),
    "task.groups": _whole(),
    "task.decay": _at_least_zero(1),
    "task.commitment": _at_least_zero(),
    "task.reset_below": _at_least_zero(),
    "task.window": _whole(),
    "task.prototypes": _whole(),
    "task.windows": _whole(),
    "task.window_seconds": _positive(),
    "task.queries": _whole(),
    "task.project_every": _whole(),
    "task.pose_every": _whole(),
    "task.pose_steps": Rule("int", low=1, choices=("null",)),
    **{f"task.loss.{part}": _at_least_zero() for part in ("rotation", "root", "position", "velocity", "feet")},
    **{f"task.weights.{part}": _at_least_zero() for part in _FIT_WEIGHTS},
    "train.max_steps": _whole(),
    "train.learning_rate": Rule("number", low=0, high=1, above=True),
    "train.warmup_steps": _whole(low=0),
    "train.final_rate": _at_least_zero(1),
    "train.weight_decay": _at_least_zero(),
    "train.clip_norm": _at_least_zero(),
    "train.ema_decay": _at_least_zero(1),
    "train.evaluate_every": _whole(low=0),
    "train.log_every": _whole(),
    "train.save_seconds": _at_least_zero(),
    # learning
    "train.params.torch_threads": _whole(low=0),
    "train.params.network.mlp.units": Rule("units", low=1),
    "train.params.network.disc.units": Rule("units", low=1),
    _CONFIG + "reward_combine": _one_of("mul", "add", "geo"),
    _CONFIG + "task_reward_w": _at_least_zero(),
    _CONFIG + "disc_reward_w": _at_least_zero(),
    _CONFIG + "disc_reward_scale": _positive(),
    _CONFIG + "geo_style_scale": _at_least_zero(),
    _CONFIG + "geo_floor_start": _at_least_zero(1),
    _CONFIG + "geo_floor_end": _at_least_zero(1),
    _CONFIG + "horizon_length": _whole(),
    _CONFIG + "minibatch_size": _whole(),
    _CONFIG + "mini_epochs": _whole(),
    _CONFIG + "gamma": Rule("number", low=0, high=1),
    _CONFIG + "tau": Rule("number", low=0, high=1),
    _CONFIG + "e_clip": Rule("number", low=0, high=1, above=True),
    _CONFIG + "learning_rate": Rule("number", low=0, high=1, above=True),
    _CONFIG + "lr_schedule": _one_of("constant", "adaptive"),
    _CONFIG + "kl_threshold": _positive(),
    _CONFIG + "bound_loss_type": _one_of("bound", "regularisation"),
    _CONFIG + "bounds_loss_coef": _at_least_zero(),
    _CONFIG + "max_learning_rate": _positive(),
    _CONFIG + "advantage_clip": _at_least_zero(),
    _CONFIG + "grad_norm": _positive(),
    _CONFIG + "torch_compile": Rule("bool"),
    _CONFIG + "parallel_update": Rule("bool", choices=("auto",)),
    _CONFIG + "matmul_precision": _one_of("highest", "high", "medium"),
    _CONFIG + "disc_loss": _one_of("bce", "lsgan"),
    _CONFIG + "disc_cond": _one_of("none", "concat", "proj"),
    _CONFIG + "disc_mismatch": _at_least_zero(),
    _CONFIG + "disc_learning_rate": _at_least_zero(1),
    _CONFIG + "disc_updates": _whole(low=0),
    _CONFIG + "disc_coef": _at_least_zero(),
    _CONFIG + "disc_logit_reg": _at_least_zero(),
    _CONFIG + "disc_grad_penalty": _at_least_zero(),
    _CONFIG + "disc_weight_decay": _at_least_zero(),
    _CONFIG + "amp_obs_demo_buffer_size": _whole(low=0),
    _CONFIG + "amp_replay_buffer_size": _whole(),
    _CONFIG + "amp_replay_keep_prob": Rule("number", low=0, high=1),
    _CONFIG + "amp_batch_size": _whole(),
    _CONFIG + "amp_minibatch_size": _whole(),
    _CONFIG + "max_epochs": _whole(),
    _CONFIG + "save_frequency": _whole(low=0),
}


def leaves(cfg: DictConfig, prefix: str = "") -> dict[str, Any]:
    """Every value of ``cfg`` under its dotted key; lists count as values."""
    found: dict[str, Any] = {}
    for key in cfg:
        name = prefix + str(key)
        value = None if OmegaConf.is_missing(cfg, key) else cfg[key]
        if isinstance(value, DictConfig) and len(value):
            found.update(leaves(value, name + "."))
        else:
            found[name] = value
    return found


def nearest_keys(key: str, valid: Iterable[str]) -> str:
    """A sentence fragment naming the valid keys closest to ``key``, whole or by their last part.

    Spelling habits of other trainers (``numEnvs``, ``num-envs``) and a missing or wrong section
    (``reward_combine``, ``train.reward_combine``) all lead to the right key.
    """
    spelled: dict[str, list[str]] = {}
    for name in valid:
        spelled.setdefault(_plain(name), []).append(name)
        spelled.setdefault(_plain(name.rsplit(".", 1)[-1]), []).append(name)
    wanted, last = _plain(key), _plain(key.rsplit(".", 1)[-1])
    for exact in (wanted, last):
        if exact in spelled:
            return _did_you_mean(sorted(spelled[exact], key=len))
    close = [
        (difflib.SequenceMatcher(None, word, spelling).ratio(), name)
        for spelling, names in spelled.items()
        for word in {wanted, last}
        for name in names
    ]
    best = max(close)[0]
    if best < 0.7:
        return "`python launch.py --cfg job` prints every key"
    return _did_you_mean([name for score, name in sorted(close, reverse=True) if score > best - 0.1])


def _plain(key: str) -> str:
    return key.lower().replace("_", "").replace("-", "")


def _did_you_mean(names: list[str]) -> str:
    names = list(dict.fromkeys(names))[:3]
    return "did you mean " + " or ".join(repr(name) for name in names) + "?"


def check(key: str, value: Any, default: Any = None) -> None:
    """Raise :class:`ConfigError` when ``value`` is impossible for ``key``.

    ``default`` (the value the key has without being set) gives the kind of keys outside the table.
    """
    rule = RULES.get(key)
    if rule is None:
        _check_kind(key, value, default)
        return
    if value is None and "null" in rule.choices:
        return
    if isinstance(value, str) and ((value == "" and rule.empty) or value in rule.choices):
        return
    _CHECKS[rule.kind](key, value, rule)


def _check_kind(key: str, value: Any, default: Any) -> None:
    if isinstance(default, bool):
        _check_bool(key, value, Rule("bool"))
    elif isinstance(default, int | float):
        _check_number(key, value, Rule("number"))
    elif isinstance(default, ListConfig | list) and not isinstance(value, ListConfig | list):
        raise ConfigError(f"{key}={show(value)}: wants a list like the default {show(default)}.")


def _check_bool(key: str, value: Any, rule: Rule) -> None:
    if isinstance(value, bool):
        return
    meant = str(value).strip().lower() not in ("no", "off", "n", "0", "none", "f", "fals")
    raise ConfigError(f"{key}={show(value)}: is either True or False. Write {key}={meant}.")


def _check_number(key: str, value: Any, rule: Rule) -> None:
    whole = rule.kind == "int"
    words = "".join(f" or {word!r}" for word in rule.choices)
    wants = f"wants a {'whole number' if whole else 'number'}{_limits(rule)}{words}"
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number:
        raise ConfigError(f"{key}={show(value)}: {wants}.")
    if whole and value != int(value):
        raise ConfigError(f"{key}={show(value)}: {wants}. Nearest: {round(value)}.")
    if rule.above and value <= rule.low:
        raise ConfigError(f"{key}={show(value)}: {wants}.")
    if not rule.low <= value <= rule.high:
        limit = rule.low if value < rule.low else rule.high
        raise ConfigError(f"{key}={show(value)}: {wants}. Nearest: {limit:g}.")


def _check_choice(key: str, value: Any, rule: Rule) -> None:
    hint = nearest(str(value), rule.choices)
    everything = "" if hint.startswith("valid") else " Valid: " + ", ".join(rule.choices) + "."
    raise ConfigError(f"{key}={show(value)}: no such choice; {hint}{everything}")


def _check_pair(key: str, value: Any, rule: Rule) -> None:
    words = "".join(f" or {word!r}" for word in rule.choices)
    if not isinstance(value, ListConfig | list) or len(value) != 2:
        raise ConfigError(f"{key}={show(value)}: wants two numbers like '{key}=[1.0,2.0]'{words}.")
    for number in value:
        _check_number(key, number, rule)
    if value[0] > value[1]:
        raise ConfigError(
            f"{key}={show(value)}: the first number is the lower end. Nearest: [{value[1]},{value[0]}]."
        )


def _check_units(key: str, value: Any, rule: Rule) -> None:
    if not isinstance(value, ListConfig | list) or not value:
        raise ConfigError(f"{key}={show(value)}: wants a list of layer widths like '{key}=[512,256]'.")
    for width in value:
        _check_number(key, width, Rule("int", low=rule.low))


def _check_text(key: str, value: Any, rule: Rule) -> None:
    if isinstance(value, bool | list | ListConfig | dict | DictConfig) or value in ("", None):
        raise ConfigError(f"{key}={show(value)}: wants a word.")


def _check_device(key: str, value: Any, rule: Rule) -> None:
    kind, _, index = str(value).partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdigit()) or (kind == "cpu" and index):
        raise ConfigError(f"{key}={show(value)}: no such device; valid: cpu, cuda:0, cuda:1, ...")


_CHECKS: dict[str, Callable[[str, Any, Rule], None]] = {
    "bool": _check_bool,
    "int": _check_number,
    "number": _check_number,
    "choice": _check_choice,
    "pair": _check_pair,
    "units": _check_units,
    "text": _check_text,
    "device": _check_device,
}


def _limits(rule: Rule) -> str:
    if math.isinf(rule.low) and math.isinf(rule.high):
        return ""
    low = f"greater than {rule.low:g}" if rule.above else f"of at least {rule.low:g}"
    if math.isinf(rule.high):
        return " " + low
    if rule.above:
        return f" {low} and at most {rule.high:g}"
    return f" from {rule.low:g} to {rule.high:g}"


def show(value: Any) -> str:
    """``value`` as one would type it on the command line."""
    if isinstance(value, ListConfig | list | tuple):
        return "[" + ",".join(show(part) for part in value) + "]"
    if isinstance(value, DictConfig):
        return str(OmegaConf.to_container(value, resolve=False))
    if value is None:
        return "null"
    return "''" if value == "" else str(value)
