"""The keyboard: keys, and the terminal that they need."""

from __future__ import annotations

import math
import os

import pytest
import torch

from isaacmm.errors import IsaacmmError
from isaacmm.steering import Keyboard


def test_without_a_terminal_it_says_what_to_do() -> None:
    read, write = os.pipe()
    try:
        with pytest.raises(IsaacmmError, match="need a terminal"):
            Keyboard(file=read)
    finally:
        os.close(read)
        os.close(write)


def test_keys_typed_into_a_terminal() -> None:
    pty = pytest.importorskip("pty")
    master, slave = pty.openpty()
    pos, yaw = torch.zeros(2, 2), torch.tensor([0.5, 1.0])
    try:
        with Keyboard(file=slave) as keys:
            keys.reset(torch.arange(2), pos, yaw)
            still = keys.command(0.0, pos, yaw)  # nothing typed: returns at once
            assert torch.equal(still.velocity, torch.zeros(2, 2)) and torch.allclose(still.facing, torch.tensor(0.5))
            os.write(master, b"ww\x1b[Aaq")
            moving = keys.command(0.1, pos, yaw)
            assert torch.allclose(moving.velocity, torch.tensor([0.6, 0.2]))
            assert torch.allclose(moving.facing, torch.tensor(0.5 + math.radians(15)))
            os.write(master, b" \x1b[C\x1b[C")
            stopped = keys.command(0.2, pos, yaw)
            assert float(stopped.velocity.abs().max()) == 0.0
            assert torch.allclose(stopped.facing, torch.tensor(0.5 - math.radians(15)))
            assert not keys.ended
            os.write(master, b"x")
            keys.command(0.3, pos, yaw)
            assert keys.ended
    finally:
        os.close(master)
        os.close(slave)


def test_speeds_have_bounds() -> None:
    pty = pytest.importorskip("pty")
    master, slave = pty.openpty()
    try:
        keys = Keyboard(fastest=3.0, file=slave)
        keys.press("w" * 100 + "q" * 100)
        assert keys.forward == 3.0 and keys.left == 1.5
        keys.press("s" * 100)
        assert keys.forward == -1.0
    finally:
        os.close(master)
        os.close(slave)
