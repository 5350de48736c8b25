"""Physics behind one interface: ``make_simulator("mujoco", CharacterModel.load(), {"num_envs": 64})``."""

from isaacmm.sim.registry import available, make_simulator
from isaacmm.sim.simulator import SimConfig, Simulator

__all__ = ["SimConfig", "Simulator", "available", "make_simulator"]
