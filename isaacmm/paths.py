"""Where the files that come with the project lie: in the checkout, or inside an installed package."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
CHECKOUT = PACKAGE.parent


def is_checkout() -> bool:
    """Whether the package runs from a checkout (also when installed with ``pip install -e``)."""
    return (CHECKOUT / "setup.py").is_file() and (CHECKOUT / "cfg").is_dir()


def data_folder(name: str) -> Path:
    """The folder ``name`` (``cfg`` or ``motions``): the checkout's, else the one a wheel carries."""
    return CHECKOUT / name if is_checkout() else PACKAGE / "_data" / name


def resolve(path: str | Path) -> Path:
    """The file or folder that ``path`` in a config means.

    Absolute paths mean themselves. Relative ones are looked for beside the project (checkout or
    installed package, so ``motions/x.npz`` works in both) and then from the current folder.
    """
    path = Path(path).expanduser()
    if path.is_absolute():
        return path
    head, *rest = path.parts or (".",)
    for candidate in (CHECKOUT / path, data_folder(head).joinpath(*rest)):
        if candidate.exists():
            return candidate
    return Path.cwd() / path
