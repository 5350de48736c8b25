"""Damaged and hostile files, through every reader: a sound motion or a MotionError, nothing else.

No other exception, no hang, no memory beyond what the file can hold, no code out of the file. Seeded;
``-m slow`` tries some ten times as many.
"""

from __future__ import annotations

import io
import os
import pickle
import resource
import signal
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from isaacmm.errors import MotionError
from isaacmm.motion.io import registry

#: Calls that no reader makes; an audit hook counts them while files are read.
_FORBIDDEN = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "subprocess.Popen",
    "socket.connect",
    "shutil.rmtree",
)
#: Memory (bytes) that reading these small files may take beyond what the tests have anyway.
_MEMORY = 700 << 20
_SECONDS = 20
_watching = False
_seen: list[str] = []


def _audit(event: str, _: Any) -> None:
    if _watching and event in _FORBIDDEN:
        _seen.append(event)


class Hang(BaseException):
    """Reading took too long."""


@contextmanager
def watched() -> Iterator[None]:
    """Counts forbidden calls, stops hangs, compares memory."""
    global _watching
    if not getattr(sys, "_isaacmm_audited", False):
        sys.addaudithook(_audit)
        sys._isaacmm_audited = True  # type: ignore[attr-defined]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _seen.clear()

    def stop(*_: Any) -> None:
        raise Hang

    old = signal.signal(signal.SIGALRM, stop)
    _watching = True
    try:
        yield
    finally:
        _watching = False
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)
    assert not _seen, f"a file made its reader call {_seen}"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    assert grown < _MEMORY, f"reading took {grown >> 20} MB"


class Tally:
    """What became of the files."""

    def __init__(self) -> None:
        self.read = self.refused = self.caught = 0

    def try_file(self, path: Path, **options: Any) -> str:
        """Read ``path``; returns the refusal, or an empty text."""
        signal.alarm(_SECONDS)
        try:
            motion = registry.read(path, **options)
        except MotionError as error:
            text = str(error)
            assert path.name in text and len(text) < 3000, text
            self.caught += "damaged, or of a dialect" in text
            self.refused += 1
            return text
        finally:
            signal.alarm(0)
        motion.validate()
        assert torch.isfinite(motion.fk()[0]).all() or float(motion.root_pos.abs().max()) > 1e30
        self.read += 1
        return ""

    def __str__(self) -> str:
        total = self.read + self.refused
        return (
            f"{total} files: {self.read} read, {self.refused} refused, {self.caught} of these by the last resort "
            "(not by the reader itself)"
        )


def damaged(whole: bytes, draw: np.random.Generator) -> bytes:
    """One of several kinds of damage."""
    content = bytearray(whole)
    kind = draw.integers(7)
    near = min(len(whole), 3000)
    if kind == 0:
        return whole[: draw.integers(len(whole))]
    if kind == 1:
        for at in draw.integers(0, near, draw.integers(1, 5)):
            content[at] ^= 1 << draw.integers(8)
    elif kind == 2:
        for at in draw.integers(0, len(whole), draw.integers(1, 30)):
            content[at] = draw.integers(256)
    elif kind == 3:  # numbers in headers: lengths, counts
        at = int(draw.integers(0, near))
        content[at : at + 4] = struct.pack(
            "<I", int(draw.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 100_000_000]))
        )
    elif kind == 4:  # digits in text
        digits = [i for i, byte in enumerate(content[:near]) if 48 <= byte < 58]
        for at in draw.choice(digits, min(len(digits), 4)) if digits else []:
            content[at] = draw.choice([*b"0123456789-.eN"])
    elif kind == 5:
        at, size = draw.integers(len(whole)), int(draw.integers(1, 200))
        del content[at : at + size]
    else:
        at, size = int(draw.integers(len(whole))), int(draw.integers(1, 400))
        start = int(draw.integers(len(whole)))
        content[at:at] = whole[start : start + size]
    return bytes(content)


def rezipped(whole: bytes, draw: np.random.Generator) -> bytes:
    """An archive whose members are damaged but whose check sums agree."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as source, zipfile.ZipFile(out, "w") as target:
        names = source.namelist()
        hit = draw.choice(names)
        for name in names:
            content = source.read(name)
            if name == hit and content:
                content = damaged(content, draw)
            if not (name == hit and draw.random() < 0.2):
                target.writestr(name, content)
    return out.getvalue()


def mutate_all(sample_files: Any, folder: Path, rounds: int, seed: int) -> Tally:
    tally = Tally()
    for number, name in enumerate(sample_files.names):
        draw = np.random.default_rng((seed, number))
        place = folder / name.replace("/", "_")
        place.mkdir()
        sample = sample_files(name, place)
        whole = sample.path.read_bytes()
        beside = [p for p in place.iterdir() if p != sample.path]
        texts = {p: p.read_bytes() for p in beside}
        for turn in range(rounds):
            archive = whole[:2] == b"PK" and draw.random() < 0.6
            if beside and turn % 3 == 0:  # the skeleton of an .amc
                beside[0].write_bytes(damaged(texts[beside[0]], draw))
            else:
                sample.path.write_bytes(rezipped(whole, draw) if archive else damaged(whole, draw))
            # half of the files go to the reader they were made for, whatever they look like now
            options = dict(sample.options) if draw.random() < 0.7 else {}
            if draw.random() < 0.5:
                options["format"] = name.split("/")[0]
            if "clip" in options and options.get("format") is None:
                del options["clip"]
            if "quaternion" in options and options.get("format") is None:
                del options["quaternion"]
            tally.try_file(sample.path, **options)
            sample.path.write_bytes(whole)
            for p, text in texts.items():
                p.write_bytes(text)
    return tally


@pytest.mark.filterwarnings("ignore")
def test_damaged_files(sample_files: Any, tmp_path: Path) -> None:
    with watched():
        tally = mutate_all(sample_files, tmp_path, rounds=22, seed=0)
    print(f"\ndamaged: {tally}")
    assert tally.refused > 200 and tally.read > 20
    assert tally.caught < 0.1 * tally.refused, "readers should say themselves what is wrong"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_damaged_files_many(sample_files: Any, tmp_path: Path, seed: int) -> None:
    with watched():
        tally = mutate_all(sample_files, tmp_path, rounds=60, seed=seed)
    print(f"\ndamaged: {tally}")


# --------------------------------------------------------------------------- hostile
class Call:
    """Unpickled carelessly, it calls something."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def npy(header: str, data: bytes = b"", version: int = 1) -> bytes:
    text = header.encode() + b"\n"
    length = struct.pack("<H", len(text)) if version == 1 else struct.pack("<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + data


def object_header() -> bytes:
    return npy("{'descr': '|O', 'fortran_order': False, 'shape': (), }")


def archive(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in members.items():
            target.writestr(f"{name}.npy", content)
    return out.getvalue()


def hostile_pickles(marker: Path) -> Iterator[tuple[str, bytes]]:
    """Programs that a careless reader would run, or that make much out of little."""
    touch = f"touch {marker}"
    write = f"open({str(marker)!r}, 'w').close()"
    for protocol in (0, 2, 4):
        for name, call in {
            "system": Call(os.system, touch),
            "eval": Call(eval, write),
            "exec": Call(exec, write),
            "getattr": Call(getattr, "a", "upper"),
            "import": Call(__import__, "os"),
            "open": Call(open, str(marker), "w"),
            "bytearray": Call(bytearray, 1 << 34),
            "load": Call(np.load, str(marker)),
        }.items():
            yield f"{name}{protocol}", pickle.dumps({"loop_mode": 0, "fps": 30, "frames": [call]}, protocol)
            yield (
                f"{name}{protocol}_root_pos",
                pickle.dumps({"root_pos": call, "root_trans_offset": 0}, protocol),
            )
    yield "codec", b"\x80\x02c_codecs\nencode\n(X\x04\x00\x00\x00aaaaX\x03\x00\x00\x00zipt R."
    yield "persistent", b"\x80\x02X\x09\x00\x00\x00loop_mode0Ploop\n."
    yield "bytearray8", b"\x80\x05X\x09\x00\x00\x00loop_mode0\x96" + struct.pack("<Q", 1 << 36) + b"."
    yield "bytes8", b"\x80\x04X\x09\x00\x00\x00loop_mode0\x8e" + struct.pack("<Q", 1 << 36) + b"."
    yield "frame", b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"loop_mode."
    yield "deep", b"\x80\x02X\x09\x00\x00\x00loop_mode0" + b"]" * 50_000 + b"a" * 49_999 + b"."
    # (x, x) forty times over, as a key: hashing it takes 2^40 steps
    yield "hash", b"\x80\x04X\x09\x00\x00\x00loop_mode0}K\x01" + b"q\x01h\x01\x86" * 40 + b"K\x01s."
    yield "set", b"\x80\x04X\x09\x00\x00\x00loop_mode0\x8f(K\x01q\x00" + b"h\x00\x86q\x00" * 40 + b"\x90."
    yield "memo", b"\x80\x02X\x09\x00\x00\x00loop_mode0K\x01r\xff\xff\xff\xff."
    yield (
        "attributes",
        b"\x80\x02X\x09\x00\x00\x00loop_mode0cnumpy\ndtype\n}X\x08\x00\x00\x00__init__K\x01sb.",
    )
    huge = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR(K\x01(\x8a\x08"
    yield "array", b"\x80\x02X\x09\x00\x00\x00loop_mode0" + huge + struct.pack("<q", 1 << 40) + b"t."
    for number in (10**400, float("nan"), -1, "x", None, [1, 2], 1e308):
        content = {"loop_mode": 0, "fps": number, "frames": [[0.0] * 35] * 3}
        yield f"fps_{str(number)[:6]}", pickle.dumps(content)
    for frames in (
        [],
        [[]],
        [[1.0]],
        [[0.0] * 35, [0.0]],
        [[float("inf")] * 35] * 3,
        "frames",
        [["a"] * 35] * 3,
    ):
        yield f"frames_{len(str(frames))}", pickle.dumps({"loop_mode": 0, "fps": 30, "frames": frames})
    for value in (np.array([{"a": 1}], dtype=object), np.zeros(3, dtype="V8"), np.zeros(2, dtype="M8[s]")):
        yield f"dtype_{value.dtype.kind}", pickle.dumps({"fps": 30, "root_pos": value, "root_rot": value})
    yield "bomb", zlib.compress(b"\x80\x04loop_mode" + b"\0" * (80 << 20))


def hostile_arrays() -> Iterator[tuple[str, bytes]]:
    """Headers that promise what is not there."""
    rows = "{{'descr': '{}', 'fortran_order': {}, 'shape': {}, }}"
    for name, descr, shape in (
        ("rows", "<f8", "(1000000000000, 263)"),
        ("overflow", "<f8", "(9223372036854775807, 263)"),
        ("negative", "<f8", "(-1, 263)"),
        ("wide", "<f4", "(3, 99999999999)"),
        ("nothing", "<f8", "(0, 263)"),
        ("nothing_wide", "<f8", "(1000000000000000, 0)"),
        ("structured", "V16", "(5, 263)"),
        ("strings", "<U99999999", "(5, 263)"),
        ("dates", "<M8[s]", "(2, 263)"),
        ("complex", "<c16", "(2, 263)"),
    ):
        yield f"{name}.npy", npy(rows.format(descr, False, shape), b"\0" * 4000)
        yield (
            f"{name}.npz",
            archive(poses=npy(rows.format(descr, False, shape), b"\0" * 4000), trans=b"", betas=b""),
        )
    yield "text.npy", npy("__import__('os').system('true')")
    yield "parentheses.npy", npy("(" * 5000)
    yield "long.npy", npy("{'descr': '<f8', " + " " * 70_000, version=2)
    yield "object.npz", archive(poses=object_header() + pickle.dumps(Call(os.system, "true")), trans=b"")
    zeros = npy(rows.format("<f8", False, f"({10 << 20},)"), b"\0" * (80 << 20))
    yield "bomb.npz", archive(poses=zeros, trans=zeros)
    many = {f"q_{i}": npy(rows.format("<f8", False, "(1,)"), b"\0" * 8) for i in range(3000)}
    yield "many.npz", archive(**many, q_pelvis_tx=b"", q_pelvis_tilt=b"", q_hip_flexion_r=b"")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_BZIP2) as target:
        target.writestr("poses.npy", b"\0" * (20 << 20))
        target.writestr("trans.npy", b"")
    yield "bzip.npz", out.getvalue()


def hostile_texts() -> Iterator[tuple[str, bytes]]:
    """Text formats with much nesting, much repetition, or numbers that are none."""
    yield "deep.json", b'{"Loop": "none", "Frames": ' + b"[" * 200_000
    yield "digits.json", b'{"Frames": [[' + b"9" * 100_000 + b"]]}"
    yield "infinite.json", b'{"Frames": [' + b",".join([b"[" + b",".join([b"1e999"] * 44) + b"]"] * 3) + b"]}"
    yield "mixed.json", b'{"Frames": [' + b",".join([b"[" + b",".join([b'"1"'] * 44) + b"]"] * 3) + b"]}"
    laughs = b"<!DOCTYPE x [" + b"".join(
        b'<!ENTITY a%d "%s">' % (i, b"&a%d;" % (i - 1) * 10 if i else b"ha") for i in range(12)
    )
    yield "laughs.xml", laughs + b']><mujoco><key mpos="&a11;"/></mujoco>'
    yield "deep.xml", b'<a><key mpos=""/>' + b"<a>" * 100_000
    yield "wide.csv", b"1," * 100_000 + b"1\n"
    yield "nan.csv", b"\n".join([b",".join([b"nan"] * 36)] * 5)
    yield "huge.csv", b"\n".join([b",".join([b"1e300"] * 36)] * 5)
    yield "frames.amc", b":FULLY-SPECIFIED\n:DEGREES\n" + b"".join(b"%d\nroot 1 2\n" % i for i in range(9))
    yield (
        "loop.asf",
        (
            b":units\nlength 1\n:root\norder tx\n:bonedata\nbegin\nname a\nend\nbegin\nname b\nend\n"
            b":hierarchy\nbegin\na b\nb a\nend\n"
        ),
    )
    bones = b"".join(b"begin\nname b%d\nend\n" % i for i in range(5000))
    yield (
        "many.asf",
        b":units\nlength 1\n:root\norder tx\n:bonedata\n" + bones + b":hierarchy\nbegin\nroot b0\nend\n",
    )


@pytest.mark.filterwarnings("ignore")
def test_hostile_files(tmp_path: Path) -> None:
    marker = tmp_path / "it-ran"
    tally = Tally()
    files = [(f"{name}.pkl", content) for name, content in hostile_pickles(marker)]
    files += [(f"{name}.npy", object_header() + content) for name, content in hostile_pickles(marker)]
    files += [*hostile_arrays(), *hostile_texts()]
    readers = {
        ".pkl": ("mimickit", "gmr", "phc"),
        ".npy": ("poselib", "humanml3d", "vqvae"),
        ".npz": ("isaacmm", "isaaclab", "amass", "loco_mujoco"),
    }
    with watched():
        for i, (name, content) in enumerate(files):
            path = tmp_path / name
            path.write_bytes(content)
            forms = readers.get(path.suffix, ())
            for form in {None, forms[i % len(forms)] if forms else None}:
                text = tally.try_file(path, **({"format": form} if form else {}))
                assert text, f"{name} was read"
                if (
                    any(word in name for word in ("system", "eval", "exec", "getattr", "import"))
                    and form is None
                ):
                    assert "refused" in text, text
            path.unlink()
            assert not marker.exists(), name
        content = {
            "fps": 30,
            "rigid_body_pos": Call(os.system, f"touch {marker}"),
            "rigid_body_rot": torch.zeros(2),
        }
        torch.save(content, tmp_path / "a.motion")
        assert "os.system" in tally.try_file(tmp_path / "a.motion").replace("posix", "os")
    assert not marker.exists()
    print(f"\nhostile: {tally}")
    assert tally.read == 0 and tally.caught < 15
