"""Train or play a character: `python launch.py task=HumanoidAMP headless=True`; try `--help`."""

import sys

try:
    from isaacmm.cli.main import main
except ModuleNotFoundError as error:
    if error.name is None or error.name.split(".")[0] == "isaacmm":
        raise
    print(
        f"error: the package {error.name!r} is not installed in this Python ({sys.executable}).\n"
        "       From the checkout: python3 -m venv .venv && .venv/bin/pip install -e .\n"
        "       then:              .venv/bin/python launch.py task=HumanoidAMP headless=True",
        file=sys.stderr,
    )
    sys.exit(2)

if __name__ == "__main__":
    sys.exit(main())
