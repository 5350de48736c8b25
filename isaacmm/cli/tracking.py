"""Weights & Biases beside TensorBoard, for those who ask for it (``wandb=PROJECT``)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from omegaconf import DictConfig, OmegaConf

from isaacmm.errors import ConfigError


@contextmanager
def tracked(cfg: DictConfig, folder: Path) -> Iterator[None]:
    """While the block runs, whatever goes to ``folder/summaries`` goes to the project ``cfg.wandb`` as well.

    The run there is called as the folder and goes on when that is resumed. ``WANDB_MODE=offline`` and the other
    variables of the package work as usual. Nothing happens where ``cfg.wandb`` is empty.

    Raises:
        ConfigError: the package is not installed.
    """
    if not cfg.wandb:
        yield
        return
    try:
        import wandb
    except ImportError as error:
        raise ConfigError(
            f"wandb={cfg.wandb}: the package is not installed (pip install wandb); TensorBoard needs nothing more"
        ) from error
    settings = OmegaConf.to_container(cfg, resolve=True)
    # curves are read from the event files, so what is shown there and here cannot differ
    run = wandb.init(
        project=str(cfg.wandb), name=folder.name, id=_identity(folder), resume="allow", dir=str(folder),
        config=settings, sync_tensorboard=True,
    )  # fmt: skip
    failed = True
    try:
        yield
        failed = False
    finally:
        run.finish(exit_code=int(failed))


def _identity(folder: Path) -> str:
    """The run's number there, kept beside its files: names of folders come again, on other machines too."""
    path = folder / "wandb" / "id"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(uuid4().hex[:12], encoding="utf-8")
    return path.read_text(encoding="utf-8").strip()
