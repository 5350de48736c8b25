"""Evaluation: a checkpoint's policy in fresh episodes, beside its reference clips."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from isaacmm.amp.leak import Leak, probe
from isaacmm.envs.humanoid_amp import HumanoidAMP
from isaacmm.envs.humanoid_mm import HumanoidMM
from isaacmm.errors import CheckpointError, ConfigError, MotionError
from isaacmm.evaluate import bins, metrics
from isaacmm.evaluate.bins import Bins
from isaacmm.evaluate.commanded import Obeyed, obey
from isaacmm.evaluate.coverage import Coverage
from isaacmm.evaluate.coverage import measure as cover
from isaacmm.evaluate.metrics import METRICS, Values
from isaacmm.evaluate.rollout import Rollout, record
from isaacmm.evaluate.scripts import suite
from isaacmm.evaluate.style import Judge
from isaacmm.evaluate.tracks import Tracks
from isaacmm.learn.build import make_env
from isaacmm.learn.policy import Policy
from isaacmm.motion.clip import Motion
from isaacmm.sim import registry

#: Frames of so many worlds are kept for the metrics of motion; survival is measured in all.
KEEP = 256
#: More clips than this are represented by an even selection of them.
MOST_CLIPS = 200


@dataclass(eq=False)
class Evaluation:
    """What came out.

    Attributes:
        policy: metric -> value of the policy.
        clips: metric -> value of the reference clips; survival is missing there.
        rollout: what the policy did.
        facts: how it was measured.
        motions: the reference clips.
        bins: the numbers per kind of command; None where commands have no kinds.
        commands: how the held-out command scripts were followed; None where there are none for the task.
        coverage: how much of what the clips do the policy does, by a tokenizer; None without one.
    """

    policy: Values
    clips: Values
    rollout: Rollout
    facts: dict[str, Any] = field(default_factory=dict)
    motions: tuple[Motion, ...] = ()
    bins: Bins | None = None
    commands: Obeyed | None = None
    coverage: Coverage | None = None

    def table(self) -> str:
        """The two columns side by side, with units."""
        rows = [("", "policy", "clips", "")]
        for metric in METRICS:
            if metric.name not in self.policy and metric.name not in self.clips:
                continue
            cells = [metrics.cell(column.get(metric.name), metric.digits) for column in (self.policy, self.clips)]
            rows.append((metric.label, cells[0], cells[1], metric.unit))
        lines = [f"  {a:<22}{b:>9}{c:>9}  {d}".rstrip() for a, b, c, d in rows]
        if self.bins is not None:
            lines += ["", "by command:", self.bins.table()]
        if self.commands is not None:
            lines += ["", "held-out command scripts:", self.commands.table()]
        elif self.facts.get("scripts_missing"):
            lines += ["", f"held-out command scripts: not played ({self.facts['scripts_missing']})"]
        if self.coverage is not None:
            lines += ["", self.coverage.table()]
        return "\n".join(lines)

    def headline(self) -> str:
        """How it was measured, in one line."""
        f = self.facts
        how = "best actions" if f["deterministic"] else "actions with noise"
        worlds = f"{f['num_envs']} worlds, {f['seconds']:g} s from random moments of the clips"
        return f"{worlds}, {how}, seed {f['seed']}"

    def to_json(self) -> dict[str, Any]:
        """Plain data: facts, both columns, units and definitions. No NaN: missing numbers are null."""
        names = {**self.policy, **self.clips}
        return {
            "format": "isaacmm-evaluation",
            "version": 1,
            **self.facts,
            "policy": {name: _plain(value) for name, value in self.policy.items()},
            "clips": {name: _plain(value) for name, value in self.clips.items()},
            "metrics": metrics.definitions(names),
            **({} if self.bins is None else {"bins": self.bins.to_json()}),
            **({} if self.commands is None else {"commands": self.commands.to_json()}),
            **({} if self.coverage is None else {"coverage": self.coverage.to_json()}),
        }

    def save(self, path: Path) -> None:
        """Write :meth:`to_json`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.to_json(), indent=1) + "\n", encoding="utf-8")


def evaluate(
    cfg: DictConfig,
    content: Mapping[str, Any],
    *,
    num_envs: int = 128,
    seconds: float | None = None,
    seed: int = 1,
    deterministic: bool = True,
    keep: int = KEEP,
    scripts: bool | None = None,
    tokenizer: str = "",
    stopped: Callable[[], bool] = lambda: False,
) -> Evaluation:
    """Play the checkpoint ``content`` in episodes of ``seconds`` and measure; see :mod:`.metrics`.

    Args:
        cfg: composed configuration that the checkpoint was trained with.
        content: of the checkpoint (:func:`isaacmm.learn.checkpoint.load`).
        num_envs: worlds, each with one fresh episode.
        seconds: length of an episode; None takes ``task.env.episode_seconds``.
        seed: of starting moments and commands.
        deterministic: the policy's mean action; False: with the noise it was trained with.
        keep: worlds whose frames are kept.
        scripts: also play the held-out command scripts (:mod:`.scripts`); None: where the task has such commands and
            there are worlds enough.
        tokenizer: a run of task=MotionVQVAE, to measure coverage with (:mod:`.coverage`); empty: not.
        stopped: asked at every step; True ends early with what there is.
    """
    policy = Policy.from_checkpoint(content)
    length = float(seconds or cfg.task.env.episode_seconds)
    played = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    assert isinstance(played, DictConfig)
    played.task.env.episode_seconds, played.seed = length, seed
    began = time.monotonic()
    env = make_env(played, num_envs=num_envs, contact_force=True)
    try:
        judge = _judge(content, env)
        rollout = record(
            env,
            policy,
            length,
            deterministic=deterministic,
            keep=keep,
            seed=seed,
            style=judge,
            stopped=stopped,
        )
        played_for = time.monotonic() - began
        followed, why_not = _follow(env, policy, scripts, seed, deterministic, stopped)
        result = measure(
            env,
            rollout,
            judge,
            {
                "checkpoint": str(cfg.checkpoint),
                **_counters(content),
                "motions": [str(name) for name in env.library.names[:20]],
                "simulator": registry.label(cfg),
                "num_envs": num_envs,
                "seconds": length,
                "seed": seed,
                "deterministic": deterministic,
                "play_seconds": round(played_for, 2),
                **({"scripts_missing": why_not} if why_not else {}),
            },
        )
        result.commands = followed
        if tokenizer:
            result.coverage = cover(tokenizer, rollout, env.library, Path(str(cfg.runs_dir)))
        return result
    finally:
        env.close()


def measure(env: HumanoidAMP, rollout: Rollout, judge: Judge | None, facts: Mapping[str, Any]) -> Evaluation:
    """Metrics of ``rollout`` and of the clips of ``env``."""
    library = env.library
    picks = list(range(library.num_clips))
    if library.num_clips > MOST_CLIPS:
        picks = torch.linspace(0, library.num_clips - 1, MOST_CLIPS).round().long().tolist()
    kinds = isinstance(env, HumanoidMM)
    clips = [Tracks.of_motion(library.motions[i], rollout.character, rollout.fps, ground=kinds) for i in picks]
    values = metrics.of_rollout(rollout)
    reference = metrics.average(clips, [float(library.weights[i]) for i in picks])
    places, logits = torch.zeros(0, dtype=torch.int64), torch.zeros(0)
    if judge is not None:
        values |= judge.values(rollout.reward["style_logit"])
        places, logits = _demo_logits(env, rollout, judge)
        reference |= judge.values(logits)
    result = Evaluation(values, reference, rollout, dict(facts), library.motions)
    if isinstance(env, HumanoidMM):
        result.bins = bins.measure(rollout, clips, env.database, judge, (places, logits))
        whole = result.bins.rows.get("all", ({}, {}))
        values["frechet"], reference["frechet"] = (row.get("frechet", math.nan) for row in whole)
        found = leak_of(env, rollout)
        values["leak"] = 100.0 * found.accuracy
        result.facts["leak_interval"] = [round(100.0 * found.low, 2), round(100.0 * found.high, 2)]
    return result


def leak_of(env: HumanoidMM, rollout: Rollout) -> Leak:
    """Leak probe on batches made as the discriminator's: agent samples, and clips under partners' conditions."""
    rows, conditions = rollout.twin["row"].flatten(), rollout.command["condition"].flatten(0, 1)

    def draw(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        real, fake = (torch.randint(len(rows), (512,), generator=generator) for _ in range(2))
        own = torch.Generator(env.device).manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
        wanted, partner = conditions[real].to(env.device), rows[real].to(env.device)
        return env.paired_demos(wanted, partner, own)[1], conditions[fake]

    return probe(draw, samples=2048, steps=100)


def _demo_logits(env: HumanoidAMP, rollout: Rollout, judge: Judge, count: int = 4096) -> tuple[Tensor, Tensor]:
    """Logits of clips: of any moments, or of those that answer commands of ``rollout``, under these commands.

    Returns:
        Places ``[n]`` of the commands in the flattened rollout (none for any moments), and logits ``[n]``.
    """
    generator = torch.Generator(env.device).manual_seed(0)
    if not isinstance(env, HumanoidMM):
        return torch.zeros(0, dtype=torch.int64), judge(env.demo_obs(count, generator)).cpu()
    rows = rollout.twin["row"].flatten().to(env.device)
    conditions = rollout.command["condition"].flatten(0, 1).to(env.device)
    pick = torch.randint(len(rows), (count,), generator=generator, device=env.device)
    return pick.cpu(), judge(*env.paired_demos(conditions[pick], rows[pick], generator)).cpu()


def _follow(
    env: HumanoidAMP,
    policy: Policy,
    wanted: bool | None,
    seed: int,
    deterministic: bool,
    stopped: Callable[[], bool],
) -> tuple[Obeyed | None, str]:
    """The command scripts, if they are wanted and there are any; without, and unasked for, why there are none."""
    if wanted is False or stopped():
        return None, ""
    if not isinstance(env, HumanoidMM):
        if wanted:
            raise ConfigError("scripts=True: command scripts are for task=HumanoidMM; this checkpoint takes no others")
        return None, ""
    try:
        trials = suite([mode.name for mode in env.command.modes])
        return obey(env, policy, trials=trials, seed=seed, deterministic=deterministic, stopped=stopped), ""
    except ConfigError as error:  # no script asks for what these clips do, or there are fewer worlds than scripts
        if wanted:
            raise
        return None, str(error)


def _judge(content: Mapping[str, Any], env: HumanoidAMP) -> Judge | None:
    """The checkpoint's discriminator, where it has one that fits."""
    try:
        judge = Judge(content, env.device)
    except (CheckpointError, KeyError, MotionError, RuntimeError):
        return None
    fits = judge.size == env.amp_observation_size and judge.condition in (0, env.condition_size)
    return judge if fits else None


def _counters(content: Mapping[str, Any]) -> dict[str, Any]:
    """How much the checkpoint had seen."""
    counters = content.get("counters", {})
    return {
        "iteration": int(counters.get("iteration", 0)),
        "samples": int(counters.get("samples", 0)),
        "training_seconds": round(float(counters.get("seconds", 0.0)), 1),
    }


def _plain(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
