"""ONE supervised loop for every learned motion model.

A task brings a model, batches, a loss, an evaluation and exports (:class:`FitTask`); :func:`fit` brings the rest:
seeds, schedule, clipping, weight averaging, checkpoints, curves, an end on time or on request.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from isaacmm.errors import CheckpointError, ConfigError, IsaacmmError, nearest
from isaacmm.learn import checkpoint
from isaacmm.learn.arithmetic import without_denormals
from isaacmm.learn.fit_ema import WeightAverage
from isaacmm.learn.fit_log import EVALUATION, FitBar, FitLog, table

KIND = "fit"
LAST = "last.pth"
#: Losses in a row that are no numbers, after which the fit is given up.
_MOST_BAD_STEPS = 20


class FitTask(Protocol):
    """What is learned, from what, and how well it does. Everything the model needs later is in its state.

    It may have ``score(values)``, of what :meth:`evaluate` returned: the lower the better. Then the average that was
    best at an evaluation is shipped, and not that of the last step: few clips get learned by heart after a while.

    Attributes:
        name: as in ``task=``.
    """

    name: str

    def build(self) -> nn.Module:
        """A model of the right shape. Weights come from torch's global generator; a checkpoint may replace them."""
        ...

    def begin(self, model: nn.Module) -> None:
        """What a fresh fit begins with besides random weights: statistics in buffers, closed forms. May be costly; not
        called where a checkpoint replaces all of it."""
        ...

    def batch(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Training data of step ``step``, by ``generator`` (on the CPU) alone; no loop over frames."""
        ...

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float | Tensor]]:
        """The scalar to minimise, and its parts (numbers or 0-d tensors) for the curves."""
        ...

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Figures on held-out clips; each that has a non-learned baseline comes with ``<key>_baseline``.

        Called before the first step as well. It may use any random numbers without disturbing the training.
        """
        ...

    def finish(self, model_ema: nn.Module, folder: Path, figures: Mapping[str, float]) -> list[Path]:
        """Leave exports, sample motions and pictures in ``folder``; returns the files. ``figures`` are what
        :meth:`evaluate` said of this model."""
        ...

    def meta(self) -> dict[str, Any]:
        """For the checkpoint: feature spec, skeleton, statistics that are no buffers. Tensors, numbers, strings,
        lists and dicts only, so that it loads without executing code."""
        ...


@dataclass(frozen=True)
class FitConfig:
    """Settings of the loop (``cfg/train/<Task>Fit.yaml``).

    Attributes:
        max_steps: updates; the cosine ends there.
        max_minutes: of training, or None. The schedule then follows whichever of steps and clock is ahead, so that a
            fit that ends by the clock has cooled down too. Only without it are two runs equal bit by bit.
        seed: of weights, batches and everything drawn while training.
        device: where the model learns.
        learning_rate: its height after ``warmup_steps``; falls by a cosine to ``final_rate`` of it.
        weight_decay: of matrices; biases, norms and embeddings of one dimension have none.
        betas: of AdamW.
        clip_norm: the gradient's norm is cut to this; 0: not.
        ema_decay: of the weight average that is judged and shipped; 0: the weights themselves.
        evaluate_every: steps between evaluations; 0: only before and after.
        log_every: steps between rows of the curves.
        save_seconds: between checkpoints.
    """

    max_steps: int = 2500
    max_minutes: float | None = None
    seed: int = 42
    device: str = "cpu"
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    final_rate: float = 0.02
    weight_decay: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.99)
    clip_norm: float = 1.0
    ema_decay: float = 0.995
    evaluate_every: int = 500
    log_every: int = 20
    save_seconds: float = 60.0

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], **more: Any) -> FitConfig:
        """From a ``train`` section; unknown names are refused with the nearest."""
        known = {field.name for field in fields(cls)}
        for name in values:
            if name not in known:
                raise ConfigError(f"train.{name}: there is no such setting of a fit; {nearest(name, known)}")
        merged = {**values, **more}
        if "betas" in merged:
            merged["betas"] = tuple(float(b) for b in merged["betas"])
        return cls(**merged)

    def rate(self, step: int, share: float) -> float:
        """Learning rate of step ``step`` (from 0) when ``share`` of the fit is done: warm-up, then half a cosine."""
        warm = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        cosine = 0.5 * (1.0 + math.cos(math.pi * min(share, 1.0)))
        return self.learning_rate * warm * (self.final_rate + (1.0 - self.final_rate) * cosine)


def fit(
    task: FitTask,
    config: FitConfig,
    folder: Path,
    resume: bool = False,
    *,
    start: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    stop: Callable[[], bool] | None = None,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Train, evaluate, save and export.

    Args:
        task: what.
        config: how.
        folder: the run's: ``nn/last.pth``, ``summaries/`` and what the task leaves.
        resume: go on where ``nn/last.pth`` stopped; its curve continues exactly, as if it had never stopped.
        start: checkpoint whose weights a new fit begins with.
        settings: the resolved configuration, for the checkpoint.
        stop: polled after every step; true saves and ends, without exports. By default Ctrl-C and SIGTERM do that.
        say: for messages; by default they are printed.

    Returns:
        The checkpoint.

    Raises:
        CheckpointError: nothing to resume, or it is another task's or another network's.
        IsaacmmError: the loss was no number too often; a checkpoint from before is kept.
    """
    say = say or print
    with ExitStack() as exits:
        if stop is None:
            from isaacmm.cli.console import StopRequest

            stop = exits.enter_context(StopRequest().installed()).__bool__
        loop = _Loop(task, config, folder, settings, fresh=not resume and start is None)
        if resume:
            loop.restore(checkpoint.load(loop.path, config.device))
            say(f"going on at step {loop.step} of {config.max_steps}")
        elif start is not None:
            loop.borrow(checkpoint.load(start, config.device), start)
        loop.run(stop, say)
        if not stop():
            say(f"\n{task.name} after {loop.spent()}, {judged_on(task)}:\n{table(loop.evaluation)}\n")
            with torch.random.fork_rng(devices=loop.cuda), torch.no_grad():
                model, figures = loop.average.model, loop.evaluation
                if loop.best and loop.best["step"] != loop.step:
                    model.load_state_dict(loop.best["model"])
                    figures = dict(loop.best["evaluation"])
                    say(f"Shipped is step {loop.best['step']}, which did better:\n{table(figures)}\n")
                task.finish(model, folder, figures)
    return loop.path


def judged_on(task: FitTask) -> str:
    """What a task's figures are of: clips held out, unless its ``judged_on`` says something else."""
    return str(getattr(task, "judged_on", "on clips held out"))


class _Loop:
    """The state of a fit, all of which is in its checkpoints."""

    def __init__(
        self, task: FitTask, config: FitConfig, folder: Path, settings: Mapping[str, Any] | None, fresh: bool
    ) -> None:
        self.task, self.config, self.folder = task, config, folder
        self.settings = dict(settings or {})
        self.path = folder / "nn" / LAST
        self.cuda = [torch.device(config.device).index or 0] if config.device.startswith("cuda") else []
        torch.manual_seed(config.seed)
        self.fresh = fresh
        self.model = task.build()
        if fresh:
            task.begin(self.model)
        self.model = self.model.to(config.device).train()
        self.average = WeightAverage(self.model, config.ema_decay)
        self.optimizer = torch.optim.AdamW(_groups(self.model, config.weight_decay), lr=0.0, betas=config.betas)
        self.generator = torch.Generator().manual_seed(config.seed + 1)
        self.step = self.samples = self.bad_steps = 0
        self.seconds = self.cpu_seconds = 0.0
        self.evaluation: dict[str, float] = {}
        #: the step that ``evaluation`` is of
        self.judged = 0
        #: the average that was best: its ``step``, ``score``, ``evaluation`` and ``model``; empty without a score
        self.best: dict[str, Any] = {}
        self.meta = task.meta()
        _check_plain(self.meta, "meta()")

    # ------------------------------------------------------------ the loop
    @without_denormals()
    def run(self, stop: Callable[[], bool], say: Callable[[str], None]) -> None:
        """Until the steps or the minutes are over, or ``stop`` says so."""
        config = self.config
        log = FitLog(self.folder / "summaries", self.step, self.step)
        bar = FitBar(config.max_steps, config.max_minutes, self.step, self.seconds)
        saved = time.monotonic()
        try:
            if self.step == 0:
                self.evaluate()
            while (share := bar.share(self.step, self.seconds)) < 1.0 and not stop():
                began, cpu = time.monotonic(), time.process_time()
                stats = self.advance(share)
                self.seconds += time.monotonic() - began
                self.cpu_seconds += time.process_time() - cpu
                over = bar.share(self.step, self.seconds) >= 1.0
                if over or time.monotonic() - saved > config.save_seconds:
                    self.save(say)  # before the evaluation: whatever happens there, nothing learned is lost
                    saved = time.monotonic()
                every = config.evaluate_every
                judged = over or bool(every and self.step % every == 0)
                if judged:
                    self.evaluate()
                if judged and not over:
                    say(f"step {self.step}:\n{table(self.evaluation)}")
                if judged or self.step == 1 or self.step % config.log_every == 0:
                    row = self._row(stats, judged or self.step == 1)
                    log.write(row)
                    bar.show(row)
            if self.judged != self.step and not stop():
                self.evaluate()  # a fit that was stopped between evaluations, and was to go no further
        finally:
            bar.close()
            log.close()
        checkpoint.save(self.path, self.content())

    def advance(self, share: float) -> dict[str, float | Tensor]:
        """One update; returns the parts of the loss."""
        config = self.config
        rate = config.rate(self.step, share)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        batch = self.task.batch(self.step, self.generator)
        batch = {name: value.to(config.device, non_blocking=True) for name, value in batch.items()}
        loss, parts = self.task.loss(self.model, batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        limit = config.clip_norm or math.inf
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        self.step += 1
        self.samples += len(next(iter(batch.values())))
        if torch.isfinite(loss + norm):
            self.optimizer.step()
            self.bad_steps = 0
        else:
            self._skip()
        self.average.update(self.model, self.step)
        return {"loss": loss.detach(), **parts, "gradient_norm": norm, "learning_rate": rate}

    def spent(self) -> str:
        """Steps, and the time they took; CPU time is of all threads, and the same on a busy machine."""
        return f"{self.step} steps ({self.seconds / 60:.1f} minutes, {self.cpu_seconds / 60:.1f} of CPU time)"

    def _skip(self) -> None:
        self.bad_steps += 1
        if self.bad_steps >= _MOST_BAD_STEPS:
            kept = f"; the checkpoint {self.path} is from before" if self.path.exists() else ""
            raise IsaacmmError(
                f"{self.task.name}: the loss or its gradient was no number {self.bad_steps} steps in a row, at step "
                f"{self.step}{kept}. Lower train.learning_rate, or look for a clip with wild values."
            )

    @property
    def untrained(self) -> bool:
        """Whether nothing was learned yet. Such weights are judged, but a fit that stops early must not ship them."""
        return self.fresh and self.step == 0

    def evaluate(self) -> None:
        """Judge the average; the training's random numbers stay where they were."""
        with torch.random.fork_rng(devices=self.cuda), torch.no_grad():
            values = self.task.evaluate(self.average.model.eval())
        self.evaluation, self.judged = {k: float(v) for k, v in values.items()}, self.step
        score = getattr(self.task, "score", None)
        if score is None or self.untrained:
            return
        value = float(score(self.evaluation))
        if not self.best or value < self.best["score"]:
            model = {name: tensor.detach().clone() for name, tensor in self.average.model.state_dict().items()}
            self.best = {"step": self.step, "score": value, "evaluation": self.evaluation, "model": model}

    def _row(self, stats: Mapping[str, float | Tensor], judged: bool) -> dict[str, float]:
        row = {"iteration": float(self.step), "samples": float(self.samples), "seconds": self.seconds}
        row |= {name: float(value) for name, value in stats.items()}
        if judged:
            row |= {EVALUATION + name: value for name, value in self.evaluation.items()}
        return row

    # ------------------------------------------------------------ checkpoints
    def content(self) -> dict[str, Any]:
        """Everything, as a checkpoint holds it."""
        return {
            "kind": KIND,
            "task": self.task.name,
            "step": self.step,
            "samples": self.samples,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "model": self.model.state_dict(),
            "ema": self.average.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rng": {
                "torch": torch.get_rng_state(),
                "batches": self.generator.get_state(),
                **{f"cuda:{i}": torch.cuda.get_rng_state(i) for i in self.cuda},
            },
            "evaluation": self.evaluation,
            "judged": self.judged,
            "best": self.best,
            "meta": self.meta,
            "config": self.settings,
        }

    def save(self, say: Callable[[str], None]) -> None:
        """While the fit goes on, a full disk is a warning."""
        try:
            checkpoint.save(self.path, self.content())
        except CheckpointError as error:
            say(f"warning: {error} The fit goes on; the next save is tried as usual.")

    def restore(self, content: Mapping[str, Any]) -> None:
        """Be exactly where the checkpoint was."""
        check_fits(self.model, content, self.task.name, self.path)
        self.model.load_state_dict(content["model"])
        self.average.model.load_state_dict(content["ema"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.step, self.samples = int(content["step"]), int(content["samples"])
        self.seconds, self.cpu_seconds = float(content["seconds"]), float(content.get("cpu_seconds", 0.0))
        self.evaluation, self.best = dict(content["evaluation"]), dict(content.get("best") or {})
        self.judged = int(content.get("judged", self.step))
        # generators live on the CPU wherever the checkpoint was loaded to
        torch.set_rng_state(content["rng"]["torch"].cpu())
        self.generator.set_state(content["rng"]["batches"].cpu())
        for i in self.cuda:
            if f"cuda:{i}" in content["rng"]:
                torch.cuda.set_rng_state(content["rng"][f"cuda:{i}"].cpu(), i)

    def borrow(self, content: Mapping[str, Any], path: Path) -> None:
        """Begin with the weights of another fit."""
        check_fits(self.model, content, self.task.name, path)
        self.model.load_state_dict(shipped(content))
        self.average.model.load_state_dict(shipped(content))


def shipped(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of a fit's checkpoint that are used: the best average, where the task has a score, or the last."""
    best: Mapping[str, Any] = content.get("best") or {}
    weights: dict[str, Tensor] = best["model"] if best else content["ema"]
    return weights


def shipped_step(content: Mapping[str, Any]) -> int:
    """How many steps the :func:`shipped` weights were trained for."""
    best: Mapping[str, Any] = content.get("best") or {}
    return int(best["step"] if best else content["step"])


def shipped_figures(content: Mapping[str, Any]) -> dict[str, float]:
    """The figures of the :func:`shipped` weights; empty where these were never judged (a fit stopped early)."""
    best: Mapping[str, Any] = content.get("best") or {}
    if best:
        return dict(best["evaluation"])
    # weights from between two evaluations are judged by the last one, but not by one from before anything was learned
    return dict(content.get("evaluation") or {}) if content.get("judged", True) else {}


def load_fitted(path: Path, task: FitTask | None = None, device: str = "cpu") -> dict[str, Any]:
    """A fit's checkpoint; its weights are :func:`shipped` ones, what they mean is ``content["meta"]``.

    Raises:
        CheckpointError: missing, damaged, of a policy, or of another task.
    """
    content = checkpoint.load(path, device)
    name = task.name if task is not None else str(content.get("task"))
    if content.get("kind") != KIND or content.get("task") != name:
        raise CheckpointError(f"{path} is no checkpoint of {name if task else 'a motion network'}; {_what(content)}")
    return content


def check_fits(model: nn.Module, content: Mapping[str, Any], name: str, path: Path) -> None:
    """Refuse weights of another task or of another shape, saying what differs.

    Raises:
        CheckpointError: it does not fit.
    """
    if content.get("kind") != KIND or content.get("task") != name:
        raise CheckpointError(f"{path} is no checkpoint of {name}; {_what(content)}")
    theirs = content["ema"]
    for key, mine in model.state_dict().items():
        other = theirs.get(key)
        if other is None or other.shape != mine.shape:
            shape = "missing" if other is None else tuple(other.shape)
            raise CheckpointError(
                f"{path} does not fit this configuration: '{key}' is {shape} there and {tuple(mine.shape)} here. It "
                "was made with another network, skeleton or set of clips; use its own settings"
            )


def _what(content: Mapping[str, Any]) -> str:
    return f"it is one of {content['task']}" if content.get("kind") == KIND else "it looks like one of a policy"


def _groups(model: nn.Module, decay: float) -> list[dict[str, Any]]:
    matrices = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def _check_plain(value: Any, where: str) -> None:
    """A checkpoint that could not be read again must not be written."""
    if value is None or isinstance(value, str | int | float | bool | Tensor):
        return
    if isinstance(value, dict):
        for key, part in value.items():
            _check_plain(part, f"{where}[{key!r}]")
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            _check_plain(part, f"{where}[{index}]")
    else:
        kind = type(value).__name__
        raise TypeError(f"{where} is a {kind}: only tensors, numbers, strings, lists and dicts are saved")
