"""What a run leaves behind: numbers, BVH, ONNX, a film and a page. One failing never takes the others along."""

from __future__ import annotations

import json
import logging
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from isaacmm.cli.console import shown
from isaacmm.errors import IsaacmmError
from isaacmm.evaluate.evaluation import Evaluation, evaluate
from isaacmm.evaluate.rollout import Rollout
from isaacmm.evaluate.session import load_policy_checkpoint
from isaacmm.sim import registry

if TYPE_CHECKING:
    from isaacmm.cli.runs import Run

#: Worlds of the closing evaluation; a small run is measured in as few as it trained with.
EVALUATION_WORLDS = 128
#: Worlds whose motion is written as BVH.
BVH_WORLDS = 4
#: Length of the closing film (s).
FILM_SECONDS = 8.0


def after_training(cfg: DictConfig, run: Run, path: Path) -> None:
    """Everything a finished training leaves besides the checkpoint ``path``, into ``run.path``.

    A part that fails is a warning with its reason; the others are made all the same.
    """
    began = time.monotonic()
    run.console.say("\nTraining is over; looking at what came of it.")
    made = Artefacts(cfg, run, path)
    with _quiet_about_clips():
        made.evaluate(min(EVALUATION_WORLDS, max(16, int(cfg.num_envs))), seed=1)
        if cfg.export_onnx:
            made.onnx()
        if cfg.export_bvh:
            made.bvh()
        if cfg.export_video:
            made.film(FILM_SECONDS)
        made.report()
    run.console.log(f"artefacts took {time.monotonic() - began:.1f} s")


class Artefacts:
    """Makes the parts one by one; each may be asked for by itself.

    Args:
        cfg: composed configuration.
        run: where to and whom to tell.
        path: the checkpoint.
    """

    def __init__(self, cfg: DictConfig, run: Run, path: Path) -> None:
        self.cfg, self.run = cfg, run
        self.content = load_policy_checkpoint(path)
        self.evaluation: Evaluation | None = None
        self.rollout: Rollout | None = None
        #: of motions and film
        self.name, self.stem = str(cfg.task.name), "policy"
        self.film_path: Path | None = None
        self.strip = b""
        self.missing: list[str] = []

    def evaluate(self, num_envs: int, seed: int) -> None:
        """Play, print the table, write ``evaluation.json``."""

        def work() -> str:
            result = evaluate(
                self.cfg, self.content, num_envs=num_envs, seed=seed, stopped=lambda: bool(self.run.stop)
            )
            self.evaluation, self.rollout = result, result.rollout
            result.save(self.run.path / "evaluation.json")
            return f"\n{result.headline()}:\n{result.table()}\n"

        self._attempt("evaluation", work)

    def steer(self, word: str, num_envs: int, seed: int) -> None:
        """Play what ``command=word`` says; print how well, write ``steering.json``, the motion and a plot of the way.

        Raises:
            ConfigError: nothing is called so.
        """
        from isaacmm.evaluate import steered
        from isaacmm.export import way

        source = steered.open_source(word)
        self.name = self.stem = name = steered.name_of(word)
        self.run.console.say(f"Steered by {name}: {_commands(steered.length(source), word)}")

        def work() -> str:
            rollout, result = steered.play(
                self.cfg, self.content, source, name=name, num_envs=num_envs, seed=seed,
                stopped=lambda: bool(self.run.stop),
            )  # fmt: skip
            self.rollout = rollout
            facts = {"checkpoint": str(self.cfg.checkpoint), "seed": seed, "simulator": registry.label(self.cfg)}
            text = json.dumps({**result.to_json(), **facts}, indent=1)
            (self.run.path / "steering.json").write_text(text + "\n", encoding="utf-8")
            return f"\n{result.table()}\n"

        def arrays() -> str:
            assert self.rollout is not None
            path = way.save(self.rollout, self.run.path / f"{name}.npz")
            return f"motion and commands as arrays: {shown(path)}"

        def plot() -> str:
            assert self.rollout is not None
            path = self.run.path / f"{name}.png"
            path.write_bytes(way.draw(self.rollout))
            return f"the way: {shown(path)}"

        self._attempt("steered play", work)
        self._attempt("arrays of the motion", arrays, needs_rollout=True)
        self._attempt("plot of the way", plot, needs_rollout=True)

    def onnx(self) -> None:
        """``policy.onnx`` and ``policy.json``, verified."""

        def work() -> str:
            from isaacmm.export import onnx

            return onnx.export(self.content, self.run.path / "policy.onnx").summary()

        self._attempt("policy.onnx", work)

    def bvh(self) -> None:
        """Reference clips, then what some worlds did, in ``motions/``."""

        def clips() -> str:
            from isaacmm.export import bvh

            return "reference clips: " + bvh.summary(bvh.write_clips(self._motions(), self.run.motions))

        def policy() -> str:
            from isaacmm.export import bvh

            assert self.rollout is not None
            worlds = self.rollout.worlds_to_show(BVH_WORLDS)
            written = bvh.write_rollout(self.rollout, worlds, self.run.motions, self.stem)
            return "simulated motion: " + bvh.summary(written)

        if not self.cfg.get("command"):  # somebody who steers wants to see what came of it
            self._attempt("BVH of the clips", clips)
        self._attempt("BVH of the simulated motion", policy, needs_rollout=True)

    def film(self, seconds: float) -> None:
        """A film of a typical world in ``videos/``, and a strip of moments for the page."""

        def work() -> str:
            from isaacmm.export import video

            assert self.rollout is not None
            rollout = self.rollout
            world = rollout.worlds_to_show(1)[0]
            path = self.run.videos / f"{self.name}.mp4"
            video.capture(rollout, path, worlds=[world], seconds=seconds)
            self.film_path = path
            self.strip = video.film_strip(rollout, world=world)
            return f"film: {shown(path)}"

        self._attempt("film", work, needs_rollout=True)

    def report(self) -> None:
        """``report.html``."""

        def work() -> str:
            from isaacmm.export import curves
            from isaacmm.export.report import Page

            picture = b""
            try:
                rows = curves.read_progress(self.run.path / "summaries" / "progress.csv")
                picture = curves.draw(rows, full_seconds=float(self.cfg.task.env.episode_seconds))
            except Exception as error:  # a page without curves is better than none
                self._warn("learning curves", error)
            config = OmegaConf.to_container(self.cfg, resolve=True)
            assert isinstance(config, dict)
            page = Page(
                title=f"{self.cfg.task.name}: {self.run.path.name}",
                folder=self.run.path,
                config={str(key): value for key, value in config.items()},
                content=self.content,
                evaluation=self.evaluation,
                curves=picture,
                strip=self.strip,
                film=self.film_path,
                missing=self.missing,
            )
            page.write(self.run.path / "report.html")
            return f"a page with all of it: {shown(self.run.path / 'report.html')}"

        self._attempt("report.html", work)

    # ------------------------------------------------------------------ details
    def _motions(self) -> Any:
        if self.evaluation is not None:
            return self.evaluation.motions
        from isaacmm.character import CharacterModel
        from isaacmm.motion.sources import load_clips

        plain = OmegaConf.to_container(self.cfg, resolve=True)
        assert isinstance(plain, dict)
        return load_clips(plain["motion"], CharacterModel.load(plain["character"]))[0]

    def _attempt(self, what: str, work: Callable[[], str], needs_rollout: bool = False) -> None:
        """Run ``work`` and say what it returns; whatever goes wrong becomes a warning."""
        if self.run.stop:
            self.missing.append(f"Stopped before: {what}.")
            return
        if needs_rollout and self.rollout is None:
            self.missing.append(f"Not made: {what} (the policy could not be played).")
            return
        try:
            self.run.console.say(work())
        except Exception as error:
            self._warn(what, error)

    def _warn(self, what: str, error: Exception) -> None:
        reason = str(error) if isinstance(error, IsaacmmError) else f"{type(error).__name__}: {error}"
        self.missing.append(f"Not made: {what}. {reason}")
        self.run.console.warn(
            f"{what} could not be made: {reason.rstrip('.')}. The checkpoint is safe; try again with "
            f"python -m isaacmm.export checkpoint={shown(self.run.path)}"
        )
        self.run.console.log("".join(traceback.format_exception(error)))


def _commands(seconds: float, word: str) -> str:
    return "until you have had enough." if word == "keyboard" else f"{seconds:.1f} s, or until every world has fallen."


@contextmanager
def _quiet_about_clips() -> Iterator[None]:
    """Clips are loaded once more; what was repaired in them has been said when training began."""
    logger = logging.getLogger("isaacmm.motion")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
