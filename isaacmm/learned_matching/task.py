"""``task=LearnedMM``: the fit of the networks, for the loop of :mod:`isaacmm.learn.fit`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from isaacmm.character import CharacterModel
from isaacmm.errors import ConfigError, nearest
from isaacmm.learned_matching import judge
from isaacmm.learned_matching.losses import Losses, Weights
from isaacmm.learned_matching.networks import LearnedMM
from isaacmm.learned_matching.queries import Queries
from isaacmm.learned_matching.rows import Rows
from isaacmm.matching.database import Database
from isaacmm.motion.library import MotionLibrary

NAME = "LearnedMM"
#: Ways to begin: name -> (forward m/s, left m/s).
STARTS = {"stand": (0.0, 0.0), "walk": (1.2, 0.0)}


class LearnedMMTask:
    """All networks learn in every step, each from a loss of its own.

    Stages one after the other would need to know how long the fit lasts, which a limit in minutes does not say, and
    would leave the last network the low end of one learning-rate schedule. So stepper and projector follow the latents
    while these are still being found: latents reach them detached, and their statistics move along. Both follow more
    quickly than latents change, and as the rate falls everything comes to rest together.

    Args:
        config: the ``task`` section.
        rows: the database.
        character: what :meth:`CharacterModel.load` took.
        seed: of what evaluations draw.
    """

    name = NAME

    def __init__(
        self, config: Mapping[str, Any], rows: Rows, character: Mapping[str, Any] | str = "humanoid", seed: int = 0
    ) -> None:
        self.config, self.rows, self.character, self.seed = config, rows, character, seed
        self.database = rows.database
        known = Weights.__dataclass_fields__
        given = {str(k): float(v) for k, v in dict(config.get("weights", {})).items()}
        for key in given:
            if key not in known:
                raise ConfigError(f"task.weights.{key} is not known; {nearest(key, list(known))}")
        self.losses = Losses(rows, Weights(**given))
        self.windows, self.asked = int(config["windows"]), int(config["queries"])
        self.pose_every = max(1, int(config.get("pose_every", 1)))
        self._pose: dict[str, Tensor] = {}
        self.length = 1 + max(2, round(float(config["window_seconds"]) * self.database.rate))
        self.starts = rows.starts(self.length)
        self.queries = Queries(self.database)

    # ------------------------------------------------------------------- model
    def build(self) -> nn.Module:
        """Fresh networks with the statistics of the clips."""
        rows, model = self.rows, LearnedMM(self.spec())
        layout = rows.layout
        model.pose_mean.copy_(rows.poses.mean(0))
        for part in layout.parts:
            model.pose_scale[part.slice] = rows.poses[:, part.slice].std(0).mean().clamp(min=1e-3)
        model.pose_mean[layout["contact"]], model.pose_scale[layout["contact"]] = 0.0, 4.0
        model.body_mean.copy_(rows.bodies.mean(0))
        model.body_scale.fill_(float(rows.bodies.std(0).mean().clamp(min=1e-3)))
        x = rows.features
        following = self.database.rows_left(torch.arange(len(rows))) > 0
        speed = (x[1:] - x[:-1])[following[:-1]] * self.database.rate
        model.feature_speed.copy_(speed.square().mean(0).sqrt().clamp(min=1e-3))
        some = torch.arange(0, len(rows), max(1, len(rows) // 20_000))
        model.begin(rows.features[some], rows.poses[some], self.losses.linear_weight())
        some = self._window(self.starts[:: max(1, len(self.starts) // 256)])
        with torch.no_grad():
            model.follow(model.compress(x[some], rows.poses[some], rows.bodies[some]), self.database.rate, 1.0)
        return model

    def spec(self) -> dict[str, Any]:
        """Sizes; see :class:`LearnedMM`."""
        sizes = {name: [int(n) for n in self.config["networks"][name]] for name in judge.NETWORKS + ("compressor",)}
        rows = self.rows
        counts = {"features": rows.features.shape[1], "pose": rows.layout.size, "bodies": rows.bodies.shape[1]}
        return {**counts, "latent": int(self.config["latent"]), **sizes}

    # ---------------------------------------------------------------- training
    def _window(self, start: Tensor) -> Tensor:
        return start[:, None] + torch.arange(self.length)

    def batch(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Windows ``[b, length]`` of rows within clips, queries ``[n, K]`` and the rows that answer them."""
        rows = self.rows
        picked = self._window(self.starts[torch.randint(len(self.starts), (self.windows,), generator=generator)])
        query, answer = self.queries(self.asked, generator)
        return {
            "x": rows.features[picked], "y": rows.poses[picked], "bodies": rows.bodies[picked],
            "query": query, "answer_x": rows.features[answer], "answer_y": rows.poses[answer],
            "answer_bodies": rows.bodies[answer], "poses_too": torch.tensor(step % self.pose_every == 0),
        }  # fmt: skip

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float | Tensor]]:
        """Sum of three losses that share no gradient.

        Poses begin nearly right (:meth:`LearnedMM.begin`), so they have a share of the steps only.
        """
        assert isinstance(model, LearnedMM)
        window = (batch["x"], batch["y"], batch["bodies"])
        whole = torch.zeros(())
        if batch["poses_too"]:
            whole, self._pose = self.losses.decompressor(model, *window)
            z = self._pose.pop("z")
            model.follow(z, self.database.rate)
        with torch.no_grad():
            if not batch["poses_too"]:
                z = model.compress(*window)
            answer = model.compress(batch["answer_x"], batch["answer_y"], batch["answer_bodies"])
        step, parts = self.losses.stepper(model, batch["x"], z)
        project, more = self.losses.projector(model, batch["query"], batch["answer_x"], answer)
        told = {**self._pose, **parts, **more}
        return whole + step + project, {k: v.detach() for k, v in told.items()}

    # ---------------------------------------------------------------- judgement
    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """On the database itself, which the networks are to hold, not to generalise from."""
        assert isinstance(model, LearnedMM)
        return judge.judge(model, self.rows, self.queries, self.seed)

    def finish(self, model_ema: nn.Module, folder: Path) -> list[Path]:
        """The three graphs with their sidecar, and a short play of them."""
        from isaacmm.learned_matching import export

        assert isinstance(model_ema, LearnedMM)
        return export.leave(model_ema, self.meta_of(model_ema), folder)

    def meta(self) -> dict[str, Any]:
        """Everything that a controller needs besides the weights; no clip is needed any more."""
        db, spec = self.database, self.database.spec
        speed = (db.velocity[:, :2] - torch.zeros(2)).norm(dim=-1)
        return {
            "spec": self.spec(),
            "rate": float(db.rate),
            "character": _plain(self.character),
            "feet": list(spec.feet),
            "dof_names": list(self.rows.skeleton.dof_names),
            "horizons": [float(h) for h in spec.horizons],
            "pose_size": spec.pose_size,
            "feature_offset": db.offset.cpu(),
            "feature_scale": db.scale.cpu(),
            "blocks": [[b.name, b.start, b.stop, b.unit] for b in spec.blocks],
            "starts": {name: self._start(*goal) for name, goal in STARTS.items()},
            "clips": db.library.num_clips,
            "rows": len(db),
            "seconds": float(db.library.total_seconds),
            "top_speed": float(torch.quantile(speed[:: len(speed) // 100_000 + 1], 0.98)),
            "database_bytes": self.rows.memory(),
        }

    def _start(self, forward: float, left: float) -> dict[str, Tensor]:
        """The valid row that goes on most evenly at a velocity."""
        db, row = self.database, self.rows
        times = torch.tensor(db.spec.horizons)
        path = torch.stack((forward * times, left * times), dim=-1)[None]
        ahead = torch.zeros_like(path)
        ahead[..., 0] = 1.0
        cost = ((db.trajectory - db.condition(path, ahead)) ** 2).sum(-1)
        cost = cost + (db.velocity - torch.tensor([forward, left])).norm(dim=-1)
        found = int(cost.masked_fill(~db.valid, float("inf")).argmin())
        return {"x": row.features[found], "y": row.poses[found], "bodies": row.bodies[found]}

    def meta_of(self, model: LearnedMM) -> dict[str, Any]:
        """:meth:`meta` with the latents of the starts."""
        return with_latents(self.meta(), model)


@torch.no_grad()
def with_latents(meta: dict[str, Any], model: LearnedMM) -> dict[str, Any]:
    """``meta`` whose starts have their ``z``."""
    starts = {
        name: {**s, "z": model.compress(s["x"][None], s["y"][None], s["bodies"][None])[0]}
        for name, s in meta["starts"].items()
    }
    return {**meta, "starts": starts}


def make(cfg: Mapping[str, Any], *args: Any, **rest: Any) -> LearnedMMTask:
    """From a composed configuration: its sections ``task``, ``motion``, ``character`` and ``seed``."""
    character = CharacterModel.load(cfg["character"])
    task = cfg["task"]
    library = MotionLibrary.from_config(cfg["motion"], character)
    database = Database.from_config(task.get("matching", {}), library, character, rate=float(task["rate"]))
    return LearnedMMTask(task, Rows(database), cfg["character"], int(cfg.get("seed", 0) or 0))


def _plain(value: Any) -> Any:
    """Mappings and lists of a configuration as dicts and lists."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    return [_plain(v) for v in value]
