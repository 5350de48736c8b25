"""What an update costs late in a training, when some weights have faded, and with cheaper products.

    python benchmarks/update.py RUN_OR_CHECKPOINT [--rounds 3]

A training is taken up where its checkpoint left it (with its own clips and settings), one horizon is collected, and the
networks learn from it: with numbers too small for normal floats as they are, with these taken for zero as in every
training, and that with bfloat16 products (``train.params.config.matmul_precision=medium``). They take turns; figures
are medians of CPU seconds, on one thread. Ends with the first's time over the second's. Nothing is written.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from isaacmm.cli import runs
from isaacmm.learn import checkpoint
from isaacmm.learn.arithmetic import faded, products, without_denormals
from isaacmm.learn.build import make_env
from isaacmm.learn.rl_games.agent import AMPAgent
from isaacmm.learn.rl_games.build import make_agent
from isaacmm.learn.rl_games.rollout import Batch

WAYS: dict[str, tuple[Callable[[], AbstractContextManager[None]], str]] = {
    "as numbers are": (nullcontext, "highest"),
    "faded ones are zero": (without_denormals, "highest"),
    "and bfloat16 products": (without_denormals, "medium"),
}


def update(agent: AMPAgent, batch: Batch) -> tuple[float, float]:
    """CPU seconds of the policy's and of the discriminator's part."""
    begun = time.process_time()
    agent._update_policy(batch)
    between = time.process_time()
    agent._update_style(batch)
    return between - begun, time.process_time() - between


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    path = runs.find_checkpoint(given.checkpoint, Path("runs"), "")
    content = checkpoint.load(path, "cpu")
    for name in ("model", "optimizer", "style"):
        print(f"{name:<12}{faded(content[name]):9,} numbers have faded")
    cfg = OmegaConf.create(content["config"])
    assert isinstance(cfg, DictConfig)
    with tempfile.TemporaryDirectory() as folder:
        agent = make_agent(cfg, make_env(cfg), Path(folder))
        agent.load_state_dict(content)
        batch = agent.rollouts.collect(agent.obs)
        agent._rewards_and_advantages(batch)
        spent: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
        for _ in range(given.rounds):
            for way, (zero, precision) in WAYS.items():
                agent.load_state_dict(content)  # what has faded is there again
                with zero(), products(precision):
                    spent[way].append(update(agent, batch))
    whole = {}
    for way, pairs in spent.items():
        policy, style = (1e6 * statistics.median(p[i] for p in pairs) / batch.samples for i in (0, 1))
        whole[way] = policy + style
        print(f"{way:<24} policy {policy:6.1f}   discriminator {style:6.1f}   us per sample")
    first, second, third = whole.values()
    print(f"products: {second / third:.2f}")
    print(f"ratio {first / second:.2f}")


if __name__ == "__main__":
    main()
