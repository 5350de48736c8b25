"""The commands of ``python -m isaacmm.vqvae``, each a module with ``add(parser)`` and ``run(given)``."""

from isaacmm.vqvae.commands import cluster, decode, inspect, reconstruct, tokenize

COMMANDS = (reconstruct, tokenize, decode, inspect, cluster)

__all__ = ["COMMANDS"]
