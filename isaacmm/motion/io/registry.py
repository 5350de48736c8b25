"""One door for motion files: which format is this, read it, write it.

A format is recognised by its suffix *and* by its first bytes, because five different formats end
in ``.npz`` and three in ``.pkl``. Units, up axis and quaternion order are each reader's business: whatever comes out of
:func:`read` is metres, z up, ``xyzw``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from isaacmm.errors import MotionError, nearest
from isaacmm.motion.io import (
    amass,
    asf_amc,
    bvh,
    csv_robot,
    deepmimic,
    gmr,
    humanml3d,
    isaaclab,
    loco_mujoco,
    mimickit,
    mjpc_xml,
    native,
    phc,
    poselib,
    protomotions,
    safe_pickle,
    vqvae_npy,
)
from isaacmm.motion.repair import fill_nan_frames, refuse_nan

if TYPE_CHECKING:
    from isaacmm.motion.clip import Motion
    from isaacmm.skeleton import Skeleton


log = logging.getLogger(__name__)

#: Names out of damaged files can be long; messages are not (characters).
_LONGEST = 2000


@dataclass(frozen=True)
class Format:
    """A motion file format.

    Attributes:
        name: short name, accepted as ``format=`` by :func:`read` and :func:`write`.
        suffixes: lower-case file endings, the usual one first.
        read: ``read(path, skeleton=None, **options) -> Motion``.
        write: ``write(motion, path, **options)``, or None where we only read.
        sniff: looks at the content of an existing file; cheap, never raises on odd bytes.
        description: one line for messages and documentation.
        read_all: ``read_all(path, skeleton=None, **options) -> list[Motion]`` where a file may hold several
            clips; such a format's ``read`` also takes ``clip=NAME``.
    """

    name: str
    suffixes: tuple[str, ...]
    read: Callable[..., Motion]
    write: Callable[..., None] | None
    sniff: Callable[[Path], bool]
    description: str
    read_all: Callable[..., list[Motion]] | None = None


FORMATS: dict[str, Format] = {
    form.name: form
    for form in (
        Format("isaacmm", (".npz",), native.read, native.write, native.sniff, "isaacmm's own clips"),
        Format("bvh", (".bvh",), bvh.read, bvh.write, bvh.sniff, "BVH from a DCC or motion capture"),
        Format(
            "poselib",
            (".npy",),
            poselib.read,
            poselib.write,
            poselib.sniff,
            "IsaacGymEnvs / ASE poselib clips",
        ),
        Format("isaaclab", (".npz",), isaaclab.read, isaaclab.write, isaaclab.sniff, "Isaac Lab AMP clips"),
        Format("amass", (".npz",), amass.read, amass.write, amass.sniff, "AMASS: SMPL, SMPL+H, SMPL-X poses"),
        Format("mimickit", (".pkl",), mimickit.read, mimickit.write, mimickit.sniff, "MimicKit clips"),
        Format("gmr", (".pkl",), gmr.read, gmr.write, gmr.sniff, "GMR's robot clips"),
        Format(
            "phc",
            (".pkl",),
            phc.read,
            phc.write,
            phc.sniff,
            "PHC and ASAP, many clips in a file",
            phc.read_all,
        ),
        Format(
            "protomotions",
            (".motion",),
            protomotions.read,
            protomotions.write,
            protomotions.sniff,
            "ProtoMotions clips",
        ),
        Format(
            "deepmimic",
            (".txt", ".json"),
            deepmimic.read,
            deepmimic.write,
            deepmimic.sniff,
            "DeepMimic clips",
        ),
        Format(
            "robot_csv",
            (".csv",),
            csv_robot.read,
            csv_robot.write,
            csv_robot.sniff,
            "robot motion, Unitree G1",
        ),
        Format(
            "loco_mujoco", (".npz",), loco_mujoco.read, None, loco_mujoco.sniff, "loco-mujoco's human clips"
        ),
        Format("humanml3d", (".npy",), humanml3d.read, None, humanml3d.sniff, "HumanML3D features [T, 263]"),
        Format(
            "vqvae",
            (".npy",),
            vqvae_npy.read,
            vqvae_npy.write,
            vqvae_npy.sniff,
            "MotionVQVAE, many clips in an array",
            vqvae_npy.read_all,
        ),
        Format("amc", (".amc", ".asf"), asf_amc.read, None, asf_amc.sniff, "Acclaim AMC with its ASF (CMU)"),
        Format("mjpc", (".xml",), mjpc_xml.read, None, mjpc_xml.sniff, "MuJoCo MPC's keyframes of markers"),
    )
}


def _listing(writing: bool = False) -> str:
    """The formats as one sentence fragment."""
    shown = [form for form in FORMATS.values() if form.write or not writing]
    return "; ".join(f"{form.name} ({', '.join(form.suffixes)}: {form.description})" for form in shown)


def _by_name(name: str) -> Format:
    if name not in FORMATS:
        raise MotionError(f"There is no motion format {name!r}; {nearest(name, FORMATS)}")
    return FORMATS[name]


def sniff(path: str | Path) -> Format:
    """The format of an existing file.

    Raises:
        MotionError: the file is missing, empty, a folder, or of no format we read.
    """
    path = Path(path)
    if not path.exists():
        known = {suffix for form in FORMATS.values() for suffix in form.suffixes}
        beside = path.parent.iterdir() if path.parent.is_dir() else ()
        clips = sorted(p.name for p in beside if p.suffix.lower() in known)
        close = nearest(path.name, clips)
        close = close if close.startswith("did") else nearest(path.name, clips[:20])
        hint = f" In that folder: {close}" if clips else ""
        raise MotionError(f"{path}: there is no such motion file.{hint}")
    if path.is_dir():
        if not any(path.iterdir()):
            raise MotionError(f"{path} is an empty folder; there is no motion file in it.")
        raise MotionError(f"{path} is a folder, not a motion file; name one of the clips in it.")
    if path.stat().st_size == 0:
        raise MotionError(f"{path}: the file is empty (0 bytes); copy or download it again.")
    suffix = path.suffix.lower()
    # Suffix and content first, then content alone: a renamed file is still read.
    by_suffix = [form for form in FORMATS.values() if suffix in form.suffixes]
    for form in (*by_suffix, *(f for f in FORMATS.values() if f not in by_suffix)):
        if form.sniff(path):
            return form
    if len(by_suffix) == 1:
        return by_suffix[0]  # its reader says better what is wrong with the content
    if suffix == ".npz":
        native.explain_unknown_npz(path)
    if suffix == ".pkl":
        safe_pickle.explain_unknown(path)
    if suffix == ".npy":
        return FORMATS["poselib"]
    raise MotionError(f"{path}: not a motion file that isaacmm knows. It reads: {_listing()}.")


def read(
    path: str | Path,
    skeleton: Skeleton | None = None,
    *,
    format: str | None = None,
    nan: str = "error",
    **options: Any,
) -> Motion:
    """Read a clip of any known format: world z up, metres, ``xyzw``, checked.

    Args:
        path: the file.
        skeleton: the character the clip is to move. Joints are mapped onto it by name and the
            returned motion carries it. None: the file's own skeleton.
        format: name of a format, to overrule what suffix and content say.
        nan: ``"error"`` refuses frames with NaN or infinity, ``"interpolate"`` fills them in.
        options: the reader's own (BVH: ``scale``, ``up``, ...; files of many clips: ``clip``, the name of one;
            without it the first is read).

    Raises:
        MotionError: missing, truncated, NaN, unknown joints, unknown format; the message names
            file, clip, frame and what to do.
    """
    path = Path(path)
    form = _form(path, format)
    if "clip" in options and form.read_all is None:
        raise MotionError(f"{path}: a file of the format {form.name} holds one clip; leave clip= out.")
    return _checked(_guarded(path, form, lambda: form.read(path, skeleton=skeleton, **options)), path, nan)


def read_all(
    path: str | Path,
    skeleton: Skeleton | None = None,
    *,
    format: str | None = None,
    nan: str = "error",
    **options: Any,
) -> list[Motion]:
    """Read every clip of a file; most formats hold one. Arguments and errors as :func:`read`."""
    path = Path(path)
    form = _form(path, format)
    if form.read_all is None:
        return [read(path, skeleton, format=form.name, nan=nan, **options)]
    many = form.read_all
    clips = _guarded(path, form, lambda: many(path, skeleton=skeleton, **options))
    return [_checked(clip, path, nan) for clip in clips]


def _form(path: Path, format: str | None) -> Format:
    found = sniff(path)
    return _by_name(format) if format else found


T = TypeVar("T")


def _guarded(path: Path, form: Format, load: Callable[[], T]) -> T:
    """``load()``, with whatever a damaged file makes numpy or torch say told as a :class:`MotionError`."""
    try:
        return load()
    except MotionError as error:
        text = str(error) if len(str(error)) < _LONGEST else f"{str(error)[:_LONGEST]} ..."
        if str(path) in text and text == str(error):
            raise
        raise MotionError(text if str(path) in text else f"{path}: {text}") from error
    except OSError:
        raise
    except Exception as error:
        if isinstance(error, TypeError) and "unexpected keyword" in str(error):
            raise MotionError(f"{path}: the {form.name} reader has no such option ({error})") from error
        # Readers check what they know can be wrong. What damaged bytes come to beyond that, nobody lists.
        log.debug("%s", path, exc_info=True)
        raise MotionError(
            f"{path}: cannot be read as {form.name} ({type(error).__name__}: {str(error)[:200]}); the file is "
            "damaged, or of a dialect that isaacmm does not know."
        ) from error


def _checked(motion: Motion, path: Path, nan: str) -> Motion:
    """``motion`` without frames that hold NaN, and valid."""
    try:
        if nan == "interpolate":
            motion = fill_nan_frames(motion)
        elif nan != "error":
            raise MotionError(f"nan={nan!r} is not possible; {nearest(nan, ('error', 'interpolate'))}")
        refuse_nan(motion)
        motion.validate()
    except MotionError as error:
        raise error if str(path) in str(error) else MotionError(f"{path}: {error}") from error
    return motion


def write(motion: Motion, path: str | Path, *, format: str | None = None, **options: Any) -> None:
    """Write a clip; the format follows from the suffix unless ``format`` names it.

    The file appears whole or not at all (written beside its place, then renamed).

    Raises:
        MotionError: no writer for that suffix, or a motion the format cannot hold.
    """
    path = Path(path)
    if format:
        form = _by_name(format)
    else:
        candidates = [f for f in FORMATS.values() if path.suffix.lower() in f.suffixes and f.write]
        if not candidates:
            raise MotionError(
                f"{path}: no motion format is written as {path.suffix or 'a file without suffix'!r}. "
                f"isaacmm writes: {_listing(writing=True)}."
            )
        form = candidates[0]
    if form.write is None:
        raise MotionError(
            f"isaacmm reads {form.name} files but does not write them. It writes: {_listing(True)}."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    form.write(motion, path, **options)
