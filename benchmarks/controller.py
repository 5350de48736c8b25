"""Throughput of the kinematic controller: worlds times frames per second of one core.

    python benchmarks/controller.py [motion] [worlds ...]
"""

from __future__ import annotations

import sys
import time

import torch

from isaacmm.matching.controller import Controller
from isaacmm.matching.controller.table import PoseTable
from isaacmm.matching.opening import open_database
from isaacmm.steering import RandomCommands


def main() -> None:
    torch.set_num_threads(1)
    motion = sys.argv[1] if len(sys.argv) > 1 else "full"
    database = open_database(motion)
    table = PoseTable(database)
    print(f"{motion}: {len(database)} rows; random commands; processor seconds of one thread")
    print("worlds  ms per frame  worlds x frames / s")
    for worlds in [int(w) for w in sys.argv[2:]] or [1, 64, 1024]:
        controller = Controller(database, worlds, table=table)
        source = RandomCommands(worlds, seed=0)
        controller.play(source, 0.25, record=False)
        frames = 60 if worlds <= 256 else 15
        began = time.process_time()
        controller.play(source, frames / 60, record=False)
        spent = time.process_time() - began
        print(f"{worlds:6}  {1000 * spent / frames:12.1f}  {worlds * frames / spent:19.0f}", flush=True)


if __name__ == "__main__":
    main()
