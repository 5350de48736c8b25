"""``task=LearnedMM``: the fit of the networks, for the loop of :mod:`isaacmm.learn.fit`."""

from __future__ import annotations

import math
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
from isaacmm.learned_matching.pose import SURE
from isaacmm.learned_matching.prototypes import Prototypes
from isaacmm.learned_matching.queries import Queries
from isaacmm.learned_matching.rows import Rows
from isaacmm.matching.database import Database
from isaacmm.motion.library import MotionLibrary

NAME = "LearnedMM"
#: Share of being beside a row that the stepper begins with making good in one step; how long it is watched (s), how
#: often it is put right, and from how many steps it learns at once.
BACK, ALONE, AGAIN, MOST = 0.3, 1.0, 3, 40_000
#: Queries that the projector begins with.
ASKED = 16_384
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
    #: see :meth:`evaluate`
    judged_on = "on the database itself"

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
        self.pose_steps = float(config.get("pose_steps") or math.inf)
        self.project_every = max(1, int(config.get("project_every", 1)))
        self._pose: dict[str, Tensor] = {}
        self._project: dict[str, Tensor] = {}
        self.length = 1 + max(2, round(float(config["window_seconds"]) * self.database.rate))
        self.starts = rows.starts(self.length)
        self.queries = Queries(self.database)
        self.prototypes = Prototypes(self.database, int(config["prototypes"]))

    # ------------------------------------------------------------------- model
    def build(self) -> nn.Module:
        """Networks of the configured sizes."""
        return LearnedMM(self.spec())

    def begin(self, model: nn.Module) -> None:
        """The statistics of the clips, and what closed forms make of them."""
        assert isinstance(model, LearnedMM)
        rows, layout = self.rows, self.rows.layout
        model.pose_mean.copy_(rows.poses.mean(0))
        for part in layout.parts:
            model.pose_scale[part.slice] = rows.poses[:, part.slice].std(0).mean().clamp(min=1e-3)
        model.pose_mean[layout["contact"]], model.pose_scale[layout["contact"]] = 0.0, SURE
        model.body_mean.copy_(rows.bodies.mean(0))
        model.body_scale.fill_(float(rows.bodies.std(0).mean().clamp(min=1e-3)))
        x = rows.features
        following = self.database.rows_left(torch.arange(len(rows))) > 0
        speed = (x[1:] - x[:-1])[following[:-1]] * self.database.rate
        model.feature_speed.copy_(speed.square().mean(0).sqrt().clamp(min=1e-3))
        some = self._some()
        model.begin(rows.features[some], rows.poses[some], self.losses.linear_weight())
        some = self._window(self.starts[:: max(1, len(self.starts) // 1024)])
        with torch.no_grad():
            model.follow(self._latents(model, some), self.database.rate, 1.0)
            self._place_prototypes(model)
            draw = torch.Generator().manual_seed(self.seed)
            self._begin_steps(model, draw)
            query = self.queries.draw(ASKED, draw)
            chosen = self.prototypes.choose(query)
            answer = torch.cat(
                [self.prototypes.answer(*part) for part in zip(query.split(512), chosen.split(512), strict=True)]
            )
            model.begin_projections(query, chosen, x[answer], self._latents(model, answer))

    @torch.no_grad()
    def _begin_steps(self, model: LearnedMM, draw: torch.Generator) -> None:
        """Least squares on where the clips go, from their rows and from beside them; then again from where a stepper
        that begins so goes astray (Venkatraman, Hebert, Bagnell 2015, "Data as Demonstrator")."""
        rate = self.database.rate
        length = min(1 + round(ALONE * rate), int(self.database.grid.count.max()))
        starts = self.rows.starts(length)
        window = starts[:: max(1, len(starts) // 1024), None] + torch.arange(length)
        x, z = self.rows.features[window], self._latents(model, window)
        now_x, now_z = x[:, :-1].flatten(0, 1), z[:, :-1].flatten(0, 1)
        next_x, next_z = x[:, 1:].flatten(0, 1), z[:, 1:].flatten(0, 1)
        astray = self.losses.weights.astray
        beside = (
            now_x + astray * torch.randn(now_x.shape, generator=draw),
            now_z + astray * model.latent_scale * torch.randn(now_z.shape, generator=draw),
        )
        given, wanted = [(now_x, now_z)], [(next_x, next_z)]
        for _ in range(1 + AGAIN):
            given.append(beside)
            # finding back takes a few steps, or it would outweigh where to go
            wanted.append(
                (next_x + (1.0 - BACK) * (beside[0] - now_x), next_z + (1.0 - BACK) * (beside[1] - now_z))
            )
            from_x, from_z, to_x, to_z = (torch.cat([p[i] for p in pairs]) for pairs in (given, wanted) for i in (0, 1))
            some = torch.randperm(len(from_x), generator=draw)[:MOST]
            model.begin_steps(from_x[some], from_z[some], to_x[some], to_z[some], rate)
            here, passed = (x[:, 0], z[:, 0]), []
            for _ in range(length - 1):  # each step needs the one before
                passed.append(here)
                here = model.step(*here, 1.0 / rate)
            beside = (
                torch.stack([v[0] for v in passed], dim=1).flatten(0, 1),
                torch.stack([v[1] for v in passed], dim=1).flatten(0, 1),
            )

    def _some(self) -> Tensor:
        """Rows, all or evenly spread, that least squares need not more of."""
        return torch.arange(0, len(self.rows), max(1, len(self.rows) // 20_000))

    def _latents(self, model: LearnedMM, rows: Tensor) -> Tensor:
        return model.compress(self.rows.features[rows], self.rows.poses[rows], self.rows.bodies[rows])

    def spec(self) -> dict[str, Any]:
        """Sizes; see :class:`LearnedMM`."""
        sizes = {name: [int(n) for n in self.config["networks"][name]] for name in judge.NETWORKS + ("compressor",)}
        rows = self.rows
        counts = {"features": rows.features.shape[1], "pose": rows.layout.size, "bodies": rows.bodies.shape[1]}
        return {**counts, "latent": int(self.config["latent"]), "prototypes": len(self.prototypes), **sizes}

    @torch.no_grad()
    def _place_prototypes(self, model: LearnedMM) -> None:
        own = self.prototypes.rows
        x, y, bodies = (t[own].to(model.prototype_x) for t in (self.rows.features, self.rows.poses, self.rows.bodies))
        model.prototype_x.copy_(x)
        model.prototype_z.copy_(model.compress(x, y, bodies))

    # ---------------------------------------------------------------- training
    def _window(self, start: Tensor) -> Tensor:
        return start[:, None] + torch.arange(self.length)

    def batch(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Windows ``[b, length]`` of rows within clips, queries ``[n, K]`` and the rows that answer them."""
        rows, poses_too = self.rows, step % self.pose_every == 0 and step < self.pose_steps
        if step >= self.pose_steps:
            self._pose = {}  # no old figures in the curves
        picked = self._window(self.starts[torch.randint(len(self.starts), (self.windows,), generator=generator)])
        batch = {
            "x": rows.features[picked], "y": rows.poses[picked], "bodies": rows.bodies[picked],
            "poses_too": torch.tensor(poses_too), "poses_rest": torch.tensor(step == self.pose_steps),
        }  # fmt: skip
        if step % self.project_every == 0:
            query = self.queries.draw(self.asked, generator)
            chosen = self.prototypes.choose(query)
            answer = self.prototypes.answer(query, chosen)
            batch |= {
                "query": query, "chosen": chosen, "answer_x": rows.features[answer], "answer_y": rows.poses[answer],
                "answer_bodies": rows.bodies[answer],
            }  # fmt: skip
        return batch

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float | Tensor]]:
        """Sum of three losses that share no gradient.

        Poses begin nearly right (:meth:`LearnedMM.begin`), so they have a share of the first steps only; after these
        latents rest, and the stepper, which has the longest way to go, aims at what no longer moves. The projector
        begins nearly right as well.
        """
        assert isinstance(model, LearnedMM)
        window = (batch["x"], batch["y"], batch["bodies"])
        whole = torch.zeros(())
        if batch["poses_rest"]:
            some = self._some()
            model.settle(self.rows.features[some], self.rows.poses[some], self.rows.bodies[some])
        if batch["poses_too"]:
            whole, self._pose = self.losses.decompressor(model, *window)
            z = self._pose.pop("z")
            model.follow(z, self.database.rate)
            self._place_prototypes(model)
        else:
            with torch.no_grad():
                z = model.compress(*window)
        step, parts = self.losses.stepper(model, batch["x"], z, batch["y"])
        whole = whole + step
        if "query" in batch:
            with torch.no_grad():
                answer = model.compress(batch["answer_x"], batch["answer_y"], batch["answer_bodies"])
            project, self._project = self.losses.projector(
                model, batch["query"], batch["chosen"], batch["answer_x"], answer
            )
            whole = whole + project
        # every row of the curves has all columns
        told = {**self._pose, **parts, **self._project}
        return whole, {k: v.detach() for k, v in told.items()}

    # ---------------------------------------------------------------- judgement
    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """On the database itself, which the networks are to hold, not to generalise from."""
        assert isinstance(model, LearnedMM)
        return judge.judge(model, self.rows, self.queries, self.seed)

    def finish(self, model_ema: nn.Module, folder: Path, figures: Mapping[str, float]) -> list[Path]:
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
