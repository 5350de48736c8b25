"""The command itself: flags, errors without tracebacks, several runs in a row."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from isaacmm.errors import ConfigError, IsaacmmError

USAGE_ERROR = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = any(word.lower() == "debug=true" for word in words)
    try:
        return _dispatch(words)
    except IsaacmmError as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        print("(--help explains the command; debug=True shows where in the code this arose)", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130


def _dispatch(words: list[str]) -> int:
    if any(word in ("-h", "--help", "help") for word in words):
        from isaacmm.cli.help import help_text

        print(help_text())
        return 0
    if "--version" in words:
        from isaacmm import __version__

        print(f"isaacmm {__version__}")
        return 0
    if "--cfg" in words or any(word.startswith("--cfg=") for word in words):
        return _print_config(words)
    if "-m" in words or "--multirun" in words:
        from isaacmm.cli.sweep import several

        return several([word for word in words if word not in ("-m", "--multirun")])
    if any(word.lower() == "multi_gpu=true" for word in words):
        from isaacmm.learn import distributed, distributed_launch

        if (place := distributed.Place.from_environment()) is not None:
            return distributed_launch.run(words, place)
    from isaacmm import run
    from isaacmm.cli.compose import compose

    cfg, notes = compose(words)
    return run(cfg, notes)


def _print_config(words: list[str]) -> int:
    """``--cfg job [section]``: print the composed configuration, or one section of it."""
    from omegaconf import OmegaConf

    from isaacmm.cli import keys
    from isaacmm.cli.compose import compose

    rest = [
        word for word in words if not word.startswith("--cfg") and word not in ("job", "all", "--resolve")
    ]
    section = next((word for word in rest if "=" not in word and not word.startswith("-")), None)
    cfg, notes = compose([word for word in rest if word != section])
    if section is not None:
        part = OmegaConf.select(cfg, section)
        if part is None:
            raise ConfigError(
                f"{section}: there is no such key; {keys.nearest_keys(section, keys.leaves(cfg))}"
            )
        cfg = OmegaConf.create({section: part})
    for note in notes:
        print(f"# {note}")
    print(OmegaConf.to_yaml(cfg, resolve=True), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
