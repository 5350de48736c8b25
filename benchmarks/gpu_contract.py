"""The simulator contract for ``sim=warp`` on a GPU (or any device): one line per check.

    python benchmarks/gpu_contract.py [DEVICE]        # cuda:0 where there is one, else cpu

On a GPU the same input need not give the same bits (sums of many threads), so nearness is asked for instead.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace

import torch

from isaacmm.character import CharacterModel
from isaacmm.errors import IsaacmmError
from isaacmm.sim import SimConfig, Simulator, contract, make_simulator


def main() -> None:
    """Run every check, go on after failures, end with the counts."""
    device = sys.argv[1] if len(sys.argv) > 1 else "cuda:0" if torch.cuda.is_available() else "cpu"
    model = CharacterModel.load()
    # float32 and sums in any order: as far from MuJoCo as MuJoCo is from itself a micrometre away
    tolerance = contract.Tolerance(trajectory=1e-4, exact=False) if device != "cpu" else contract.Tolerance()

    def make(config: SimConfig) -> Simulator:
        return make_simulator("warp", model, replace(config, device=device))

    counts = {"passed": 0, "skipped": 0, "FAILED": 0}
    for name in contract.CHECKS:
        begin, why = time.perf_counter(), ""
        try:
            contract.run(name, make, tolerance)
            result = "passed"
        except contract.Skip as reason:
            result, why = "skipped", str(reason)
        except (AssertionError, IsaacmmError, RuntimeError, ValueError) as error:
            result, why = "FAILED", f"{type(error).__name__}: {error}"
        counts[result] += 1
        print(f"{result:8} {name:40} {time.perf_counter() - begin:6.1f} s  {why}", flush=True)
    print(f"contract of warp on {device}: " + ", ".join(f"{n} {what}" for what, n in counts.items()))
    sys.exit(counts["FAILED"] > 0)


if __name__ == "__main__":
    main()
