"""The kinematic controller: matched clips become one continuous motion that goes where it is told."""

from isaacmm.matching.controller.controller import Controller, Frame, Settings
from isaacmm.matching.controller.foot_lock import Locking
from isaacmm.matching.controller.recording import Numbers, Recording
from isaacmm.matching.controller.root import Leading

__all__ = ["Controller", "Frame", "Leading", "Locking", "Numbers", "Recording", "Settings"]
