"""``python -m isaacmm.export checkpoint=...``: take what a checkpoint has to give, again or elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from isaacmm.errors import IsaacmmError

HELP = """\
python -m isaacmm.export checkpoint=latest [onnx=FILE] [bvh=FOLDER] [video=FILE] [key=value ...]

Exports a checkpoint and checks what it wrote.

  checkpoint=  a .pth file, a run folder or its name, or `latest` (default)
  onnx=        write the policy to this .onnx file, and what its numbers mean to a .json beside it
  bvh=         write the reference clips and what the simulated character does to this folder
  video=       write a film to this .mp4 file
  worlds=      worlds to play; as many motions are written (4)
  seconds=     how long to play (the task's episode, 10)
  seed=        of starting moments and commands (1)

With none of onnx=, bvh= and video=, the policy and the motions go to a new folder export_1, export_2, ...
of the run. Any other setting of launch.py works as well: threads=1, motion=..., sim=...
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if any(word in ("-h", "--help", "help") for word in words):
        print(HELP)
        return 0
    try:
        _run(words)
    except (IsaacmmError, OSError) as error:  # an OSError says which file cannot be written
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    return 0


def _run(words: list[str]) -> None:
    from isaacmm.cli import runs
    from isaacmm.evaluate.session import number, open_checkpoint, split, whole

    own, rest = split(words, ("onnx", "bvh", "video", "worlds", "seconds", "seed"))
    worlds, seed = whole(own, "worlds", 4, low=1), whole(own, "seed", 1, low=0)
    cfg, content = open_checkpoint(rest)
    seconds = number(own, "seconds", float(cfg.task.env.episode_seconds), low=0.1)
    checkpoint = Path(str(cfg.checkpoint))
    targets = {name: Path(own[name]) for name in ("onnx", "bvh", "video") if name in own}
    if not targets:
        folder = runs.create_numbered(runs.run_of(checkpoint) or checkpoint.resolve().parent, "export")
        targets = {"onnx": folder / "policy.onnx", "bvh": folder / "motions"}
    print(f"from {checkpoint}")
    if "onnx" in targets:
        from isaacmm.export import onnx

        print(onnx.export(content, targets["onnx"]).summary())
    if "bvh" not in targets and "video" not in targets:
        return
    from isaacmm.evaluate.evaluation import evaluate

    result = evaluate(cfg, content, num_envs=worlds, seconds=seconds, seed=seed)
    if "bvh" in targets:
        from isaacmm.export import bvh

        print("reference clips: " + bvh.summary(bvh.write_clips(result.motions, targets["bvh"], most=10_000)))
        print(
            "simulated motion: "
            + bvh.summary(bvh.write_rollout(result.rollout, range(worlds), targets["bvh"]))
        )
    if "video" in targets:
        from isaacmm.export import video

        world = result.rollout.worlds_to_show(1)[0]
        video.capture(result.rollout, targets["video"], worlds=[world], seconds=seconds)
        print(f"film: {targets['video']}")


if __name__ == "__main__":
    sys.exit(main())
