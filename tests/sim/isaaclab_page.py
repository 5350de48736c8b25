"""The page that ``isaaclab_session.sh`` ends with, from the folder of its results."""

from __future__ import annotations

import csv
import json
import os
import sys
from pathlib import Path

import yaml

ENGINES = ("mujoco", "newton", "ovphysx")
#: key of an evaluation -> its name and unit on the page
METRICS = {
    "survival": "survival, s of 10",
    "full_episodes": "never fell, %",
    "velocity_error": "velocity error, m/s",
    "speed_error": "speed error, m/s",
    "heading_error": "heading error, deg",
    "contact_slide": "foot slide in contact, m/s",
    "penetration": "penetration, mm",
    "style_reward": "style reward",
}


def main(out: Path) -> str:
    """Everything that is in ``out``."""
    parts = ["# Isaac Lab: what ran", "", "The last page of `tests/sim/isaaclab_session.sh`."]
    parts += ["Not run: `physics=physx` (inside Isaac Sim), and nothing on a GPU unless the device below is one."]
    parts += [f"{os.cpu_count()} cores with a load of {os.getloadavg()[1]:.0f} when this page was written."]
    parts += ["", "## Contract", ""]
    contract = out / "contract.md"
    parts.append(contract.read_text(encoding="utf-8").strip() if contract.exists() else "It did not end.")
    tests = out / "tests.log"
    if tests.exists():
        lines = tests.read_text(encoding="utf-8").splitlines()
        last = [line for line in lines if " passed" in line or " failed" in line]
        parts += ["", f"`tests/sim/test_isaaclab.py`: {last[-1].strip('= ') if last else 'did not end'}."]
    parts += ["", "## Training", "", *training(out)]
    policy = played(out)
    if policy:
        parts += ["", "## A policy trained with MuJoCo, on the others", "", *policy]
    return "\n".join(parts)


def training(out: Path) -> list[str]:
    """What a short training with each physics did and left behind."""
    lines = ["| physics | worlds | iterations | samples | samples/s (wall) | diverged worlds | left behind |"]
    lines.append("|---" * 7 + "|")
    for physics in ENGINES[1:]:
        for run in sorted((out / "runs").glob(f"{physics}*")):
            rows = list(csv.DictReader((run / "summaries" / "progress.csv").open(encoding="utf-8")))
            if not rows:
                continue
            last = {key: float(value) for key, value in rows[-1].items() if value}
            worlds = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))["num_envs"]
            files = ("nn/last.pth", "policy.onnx", "evaluation.json", "report.html")
            made = [name for name in files if (run / name).exists()]
            made += [f"{len(list(run.glob('motions/*.bvh')))} BVH", f"{len(list(run.glob('videos/*.mp4')))} film"]
            lines.append(
                f"| {physics} | {worlds} | {last['iteration']:.0f} | {last['samples']:,.0f} | "
                f"{last['samples'] / last['seconds']:.0f} | {last['diverged_worlds']:.0f} | {', '.join(made)} |"
            )
    return lines


def played(out: Path) -> list[str]:
    """The same policy in every simulator, a column each."""
    found = {e: out / f"policy_{e}.json" for e in ENGINES}
    results = {e: json.loads(f.read_text(encoding="utf-8")) for e, f in found.items() if f.exists()}
    if not results:
        return []
    any_of = next(iter(results.values()))
    lines = [
        f"{any_of['num_envs']} worlds, one fresh episode of {any_of['seconds']:.0f} s each, changing commands, the "
        f"policy's best actions; {any_of['samples'] / 1e6:.2f} M samples of training.",
        "",
        "| | " + " | ".join(r["simulator"] for r in results.values()) + " |",
        "|---" * (len(results) + 1) + "|",
    ]
    for key, name in METRICS.items():
        values = (r["policy"].get(key) for r in results.values())
        lines.append(f"| {name} | " + " | ".join("" if v is None else f"{v:.3g}" for v in values) + " |")
    return lines


if __name__ == "__main__":
    print(main(Path(sys.argv[1])))
