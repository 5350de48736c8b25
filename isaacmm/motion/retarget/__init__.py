"""Clips of other skeletons onto a character: which joint is which, how bones stand, where feet stand."""

from isaacmm.motion.retarget import reading
from isaacmm.motion.retarget.roles import RoleMap, detect, role_maps
from isaacmm.motion.retarget.transfer import Retargeted, retarget

__all__ = ["Retargeted", "RoleMap", "detect", "reading", "retarget", "role_maps"]
