"""``python -m isaacmm.evaluate checkpoint=...``: numbers for a policy, beside those of its clips."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from isaacmm.errors import IsaacmmError

HELP = """\
python -m isaacmm.evaluate checkpoint=latest [key=value ...]

Plays a checkpoint in fresh episodes and prints how well it does, each number beside the same
number of the reference clips.

  checkpoint=    a .pth file, a run folder or its name, or `latest` (default)
  num_envs=      worlds, one fresh episode each (128)
  seconds=       length of an episode (the task's, 10)
  seed=          of starting moments and commands (1)
  deterministic= True: the policy's best action; False: with its noise (True)
  scripts=       True: also play the held-out command scripts; False: do not (HumanoidMM: True)
  tokenizer=     a run of task=MotionVQVAE: also tell how much of the clips' motion the policy does
  json=          also write the numbers, units and definitions to this file
  explain=True   print what every number means

Any other setting of launch.py works as well: threads=1, motion=..., task.env.command.speed=[0.8,1.2].
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
    from isaacmm.evaluate.session import number, open_checkpoint, split, truth, whole

    known = ("num_envs", "seconds", "seed", "deterministic", "scripts", "tokenizer", "json", "explain")
    own, rest = split(words, known)
    num_envs = whole(own, "num_envs", 128, 1, 100_000)
    seconds = number(own, "seconds", 0.0, 0.1, 3600.0) if "seconds" in own else None
    seed = whole(own, "seed", 1, low=0)
    deterministic, explain = truth(own, "deterministic", True), truth(own, "explain", False)
    scripts = truth(own, "scripts", True) if "scripts" in own else None

    from isaacmm.evaluate.coverage import ROWS
    from isaacmm.evaluate.evaluation import evaluate
    from isaacmm.evaluate.metrics import definitions

    cfg, content = open_checkpoint(rest)
    result = evaluate(
        cfg,
        content,
        num_envs=num_envs,
        seconds=seconds,
        seed=seed,
        deterministic=deterministic,
        scripts=scripts,
        tokenizer=own.get("tokenizer", ""),
    )
    samples = result.facts["samples"]
    print(f"{cfg.checkpoint} ({samples / 1e6:.2f} M samples)")
    print(result.headline())
    print(result.table())
    if explain:
        print()
        for name, entry in definitions({**result.policy, **result.clips}).items():
            print(f"  {name} [{entry['unit'] or '1'}]: {entry['definition']}")
        if result.coverage is not None:
            for name, unit, _, text in ROWS:
                print(f"  coverage, {name} [{unit or '1'}]: {text}")
    if "json" in own:
        result.save(Path(own["json"]))
        print(f"written: {own['json']}")


if __name__ == "__main__":
    sys.exit(main())
