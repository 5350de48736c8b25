"""Pickles of motion, read without running them.

A pickle is a program. Of the programs a pickle can be, motion files need a handful of constructors
(numpy arrays and types, OrderedDict, torch tensors, joblib's array wrapper); this unpickler knows only
those, and of the machine's instructions only the ones that make plain values. Everything else is
refused before it is executed. Not even numpy sees what the file says (its constructors believe any
state they are given): stand-ins collect type, shape and bytes, which are checked first. What a file
can make is bounded by its size.
"""

from __future__ import annotations

import io
import math
import pickle
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from isaacmm.errors import MotionError
from isaacmm.motion.io import arrays


class Refused(pickle.UnpicklingError):
    """The pickle asks for something that is not on the list."""


# ----------------------------------------------------------------------- stand-ins
class DType:
    """Stands in for ``numpy.dtype`` while a pickle is read: plain numbers and strings only."""

    def __init__(self, code: str, *_: Any) -> None:
        self.code, self.order = code, "="

    def setstate(self, state: tuple[Any, ...]) -> None:
        """What BUILD says about a type."""
        _, self.order, subarray, names, fields = state[:5]
        if subarray is not None or names or fields:
            raise Refused("a structured array")

    def real(self) -> np.dtype[Any]:
        """The dtype meant."""
        if not isinstance(self.code, str) or not re.fullmatch(r"[fiu][1248]|b1|[SU]\d{1,4}", self.code):
            raise Refused(f"an array of type {str(self.code)[:20]}")
        order = self.order if self.order in ("<", ">") else "="
        return np.dtype(order + self.code)


class Array:
    """Stands in for ``numpy.ndarray``: keeps what the pickle says about one until it has been looked at."""

    def __init__(self, *state: Any) -> None:
        self.state = state

    def setstate(self, state: tuple[Any, ...]) -> None:
        """What BUILD says about an array: shape, type, order, bytes."""
        self.state = tuple(state[-4:])

    def real(self, spend: Budget) -> Any:
        """The array meant; the object inside, for the 0-d object array that ``np.save`` wraps around it."""
        if len(self.state) != 4:
            raise Refused("an array without content")
        shape, dtype, fortran, data = self.state
        if not isinstance(dtype, DType):
            raise Refused("an array without a type")
        if dtype.code.startswith("O"):
            if shape != () or not isinstance(data, list) or len(data) != 1:
                raise Refused("an array of objects")
            return data[0]
        raw = _raw(data, spend)
        kind = dtype.real()
        sizes = tuple(_index(n) for n in shape)
        if kind.itemsize == 0 or math.prod(sizes) * kind.itemsize != len(raw):
            raise ValueError(f"an array {str(sizes)[:60]} of {kind} with {len(raw):,} bytes")
        spend(len(raw))
        return np.frombuffer(raw, dtype=kind).reshape(sizes, order="F" if fortran else "C").copy()


class JoblibArray:
    """Stands in for joblib's wrapper, whose array follows in the file after the instruction that fills it."""

    def __init__(self) -> None:
        self.array: Any = None

    def fill(self, state: Any, file: io.BytesIO, spend: Budget) -> None:
        """Read the array from ``file``."""
        if not isinstance(state, dict) or not isinstance(state.get("dtype"), DType):
            raise Refused("an array wrapper without a type")
        kind = state["dtype"].real()
        sizes = tuple(_index(n) for n in state["shape"])
        if state.get("numpy_array_alignment_bytes") is not None:
            padding = file.read(1)
            file.read(padding[0] if padding else 0)
        wanted = math.prod(sizes) * kind.itemsize
        spend(0)
        raw = file.read(wanted) if wanted <= spend.left else b""
        if len(raw) < wanted:
            raise ValueError(f"an array of {wanted:,} bytes, but the file ends after {len(raw):,}")
        fortran = state.get("order") == "F"
        self.array = np.frombuffer(raw, dtype=kind).reshape(sizes, order="F" if fortran else "C").copy()


class Budget:
    """Counts the bytes that a pickle makes: copies of one thing may not fill the memory."""

    def __init__(self, most: int) -> None:
        self.left = most

    def __call__(self, count: int) -> None:
        """Spend ``count`` bytes."""
        self.left -= count
        if self.left < 0:
            raise Refused("more data than a file of its size can hold")


def _index(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 <= value < 1 << 40:
        raise ValueError(f"{str(value)[:30]!r} is no length")
    return int(value)


def _raw(data: Any, spend: Budget) -> bytes:
    """Bytes, however the protocol spelled them."""
    if isinstance(data, str):
        spend(len(data))
        return data.encode("latin1")
    if not isinstance(data, (bytes, bytearray)):
        raise ValueError("an array without bytes")
    return bytes(data)


class Tools:
    """The constructors that a motion pickle may call, with the budget they share."""

    def __init__(self, most: int) -> None:
        self.spend = Budget(most)
        self.allowed: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): self.ordered_dict,
            ("numpy", "ndarray"): Array,
            ("numpy", "dtype"): DType,
            ("_codecs", "encode"): self.latin1,
            ("joblib.numpy_pickle", "NumpyArrayWrapper"): JoblibArray,
        }
        for core in ("core", "_core"):  # numpy 2 renamed the module
            self.allowed[f"numpy.{core}.multiarray", "_reconstruct"] = self.reconstruct
            self.allowed[f"numpy.{core}.multiarray", "scalar"] = self.scalar
            self.allowed[f"numpy.{core}.numeric", "_frombuffer"] = self.from_buffer

    @staticmethod
    def reconstruct(*_: Any) -> Array:
        """An array whose content BUILD says."""
        return Array()

    @staticmethod
    def from_buffer(data: Any, dtype: Any, shape: Any, order: Any = "C", *_: Any) -> Array:
        """How protocol 5 spells an array."""
        return Array(shape, dtype, order == "F", data)

    def scalar(self, dtype: DType, data: Any) -> Any:
        """One number."""
        return np.frombuffer(_raw(data, self.spend), dtype=dtype.real(), count=1)[0]

    def latin1(self, text: str, encoding: str) -> bytes:
        """How old pickle protocols spell bytes; no other codec is let near them."""
        if encoding not in ("latin1", "latin-1"):
            raise Refused(f"the codec {str(encoding)[:30]}")
        self.spend(len(text))
        return text.encode("latin1")

    @staticmethod
    def ordered_dict(items: Any = ()) -> OrderedDict[Any, Any]:
        """An OrderedDict, empty or from pairs."""
        return OrderedDict((_key(key), value) for key, value in items)


def _key(key: Any) -> Any:
    """A key, if hashing it takes no time: nested tuples can take for ever."""
    if key is not None and not isinstance(key, (str, bytes, int, float, np.number)):
        raise Refused(f"a {type(key).__name__} as a key")
    return key


# ----------------------------------------------------------------------- the machine
_base: Any = pickle._Unpickler
_PLAIN = """
    PROTO FRAME STOP MARK POP POP_MARK DUP NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4
    FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES
    SHORT_BINBYTES BINBYTES8 EMPTY_LIST LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT
    GET BINGET LONG_BINGET PUT BINPUT LONG_BINPUT MEMOIZE GLOBAL STACK_GLOBAL REDUCE BINPERSID PERSID
"""


class Unpickler(_base):
    """Builds dictionaries, lists and notes about arrays; anything else stops it before it is called.

    On the pure-Python unpickler, with only the instructions that plain values need: these files are
    some thousand instructions long, and the C one can be upset by damaged files.
    """

    def __init__(self, file: io.BytesIO, tools: Tools) -> None:
        super().__init__(file, encoding="latin1")
        self.file, self.tools = file, tools

    def find_class(self, module: str, name: str) -> Any:
        """One of the constructors on the list."""
        try:
            return self.tools.allowed[module, name]
        except (KeyError, TypeError):
            raise Refused(f"{str(module)[:80]}.{str(name)[:80]}") from None

    def persistent_load(self, pid: Any) -> Any:
        """Things outside the pickle; only torch's files have them."""
        raise Refused("a persistent reference")

    dispatch: ClassVar[dict[int, Any]] = {
        getattr(pickle, name)[0]: _base.dispatch[getattr(pickle, name)[0]] for name in _PLAIN.split()
    }

    def _load_newobj(self) -> None:
        arguments, kind = self.stack.pop(), self.stack.pop()
        if kind is not JoblibArray or arguments != ():
            raise Refused(f"a new {str(getattr(kind, '__name__', type(kind).__name__))[:80]}")
        self.append(JoblibArray())

    def _load_build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, (Array, DType)):
            if not isinstance(state, tuple):
                raise Refused("an array in an unknown state")
            target.setstate(state)
        elif isinstance(target, JoblibArray):
            frame = self._unframer.current_frame
            if frame is not None and frame.read(1):
                raise ValueError("joblib's array does not follow its description")
            self._unframer.current_frame = None
            target.fill(state, self.file, self.tools.spend)
        elif state:
            raise Refused(f"attributes on a {type(target).__name__}")

    def _load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set(self.stack[-1], [key, value])

    def _load_setitems(self) -> None:
        items = self.pop_mark()
        self._set(self.stack[-1], items)

    def _load_dict(self) -> None:
        items = self.pop_mark()
        made: dict[Any, Any] = {}
        self._set(made, items)
        self.append(made)

    @staticmethod
    def _set(target: Any, items: list[Any]) -> None:
        if not isinstance(target, dict):
            raise Refused(f"items of a {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_key(key)] = value

    def _load_bytearray8(self) -> None:
        # the library's version takes the memory before it looks whether the bytes are there
        size = int.from_bytes(self.read(8), "little")
        if size > self.tools.spend.left:
            raise Refused("more data than a file of its size can hold")
        self.append(self.read(size))

    dispatch[pickle.NEWOBJ[0]] = _load_newobj
    dispatch[pickle.BUILD[0]] = _load_build
    dispatch[pickle.SETITEM[0]] = _load_setitem
    dispatch[pickle.SETITEMS[0]] = _load_setitems
    dispatch[pickle.DICT[0]] = _load_dict
    dispatch[pickle.BYTEARRAY8[0]] = _load_bytearray8


def real(value: Any, spend: Budget, done: dict[int, Any] | None = None) -> Any:
    """``value`` with every stand-in replaced, in plain containers.

    ``done`` keeps what has been replaced, so that a small file full of references to itself stays small.
    """
    done = {} if done is None else done
    if id(value) in done:
        return done[id(value)]
    made = value
    if isinstance(value, Array):
        made = real(value.real(spend), spend, done)
    elif isinstance(value, JoblibArray):
        made = value.array
    elif hasattr(value, "torch_array"):
        made = value.torch_array(spend)
    elif isinstance(value, dict):
        made = {key: real(item, spend, done) for key, item in value.items()}
    elif isinstance(value, (list, tuple)) and not all(type(item) in (float, int, str) for item in value):
        # a long list of numbers is left as it is: MimicKit writes frames that way
        made = [real(item, spend, done) for item in value]
    done[id(value)] = made
    return made


def loads(content: bytes, path: Path) -> Any:
    """The object in a pickle, if numpy arrays, tensors and plain containers are all it holds.

    Raises:
        MotionError: cut short, or it asks for any other class or function.
    """
    from isaacmm.motion.io import torch_file

    tools = torch_file.Tools(2 * len(content) + arrays.FLOOR)
    file = io.BytesIO(content)
    return guarded(lambda: real(Unpickler(file, tools).load(), tools.spend), path)


def guarded(load: Any, path: Path) -> Any:
    """``load()`` with every way in which a pickle can fail told as a :class:`MotionError`."""
    try:
        return load()
    except Refused as error:
        raise MotionError(
            f"{path}: refused. Its pickle asks for {error}, and a motion clip needs nothing but arrays of "
            "numbers, lists and dictionaries; loading it could run code. Do not open this file elsewhere "
            "unless you trust its source."
        ) from error
    except Exception as error:  # a damaged pickle can fail in almost any way
        raise MotionError(
            f"{path}: the pickle is damaged or cut short ({type(error).__name__}: {str(error)[:200]}); "
            "copy or download the file again."
        ) from error


def load(path: Path) -> Any:
    """The object in a ``.pkl``, as plain pickle or as joblib writes it (packed or not).

    Raises:
        MotionError: as :func:`loads`; or packed data that are damaged or a bomb.
    """
    content = path.read_bytes()
    try:
        content = arrays.unpack(content)
    except ValueError as error:
        raise MotionError(f"{path}: {error}; copy or download the file again.") from error
    return loads(content, path)


def load_npy(path: Path) -> Any:
    """The object inside a pickled ``.npy``.

    Raises:
        MotionError: not an ``.npy``, not an object, or as :func:`loads`.
    """
    with open(path, "rb") as file:
        try:
            dtype, shape, _ = arrays.npy_header(file)
        except ValueError as error:
            raise MotionError(f"{path}: not an .npy file, or a damaged one ({error}).") from error
        if dtype.kind != "O" or shape != ():
            raise MotionError(
                f"{path}: a plain array {dtype} {shape}, which is no layout that isaacmm knows: HumanML3D's has 263 "
                "columns, MotionVQVAE's rising times in the first and flags in the last; poselib's is one pickled "
                "dictionary. See docs/motion_formats.md."
            )
        return loads(file.read(), path)


def explain_unknown(path: Path) -> None:
    """Raise a :class:`MotionError` that says what a pickle of no known layout holds."""
    content = load(path)
    if isinstance(content, dict):
        keys = ", ".join(str(key)[:40] for key in list(content)[:12]) + (", ..." if len(content) > 12 else "")
        what = f"a dictionary with the keys {keys}" if content else "an empty dictionary"
    else:
        what = f"a {type(content).__name__}"
    raise MotionError(
        f"{path}: holds {what}, which is no layout that isaacmm knows. It reads MimicKit's (loop_mode, fps, "
        "frames), GMR's (fps, root_pos, root_rot, dof_pos) and PHC's or ASAP's (name -> pose_aa or dof, "
        "root_trans_offset, fps)."
    )
