"""Readers and writers of motion files; :mod:`.registry` finds the right one."""

from isaacmm.motion.io.registry import FORMATS, Format, read, read_all, sniff, write

__all__ = ["FORMATS", "Format", "read", "read_all", "sniff", "write"]
