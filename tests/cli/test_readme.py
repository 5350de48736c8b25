"""What the documents promise about commands and settings is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from isaacmm import paths
from isaacmm.cli.compose import compose, motion_from_path

README = (paths.CHECKOUT / "README.md").read_text(encoding="utf-8")


def test_the_two_commands_stand_alone() -> None:
    """Each makes the virtual environment itself, so that either may come first."""
    first, second = re.findall(r"^python3 -m venv .*$", README, flags=re.MULTILINE)
    for command in (first, second):
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install -e ")
    assert first.endswith(".venv/bin/python launch.py task=HumanoidMM headless=True")
    assert second.endswith(".venv/bin/python -m pytest")


def test_the_ci_runs_the_readme_s_test_command() -> None:
    script = (paths.CHECKOUT / ".ci" / "run").read_text(encoding="utf-8")
    pattern = re.search(r"grep -m1 -E '(.*)' README.md", script)
    assert pattern and re.search(pattern[1], README, flags=re.MULTILINE)


def test_launch_commands_in_the_readme_compose(clip: str, workplace: Path) -> None:
    lines = re.findall(r"^python launch\.py (.*?)(?:\s+#.*)?$", README, flags=re.MULTILINE)
    assert len(lines) > 5
    for line in lines:
        words = [word for word in line.split() if not word.startswith(("-", "motion=path"))]
        if "checkpoint=latest" in words or "resume=True" in words or "-m" in line.split() or "job" in words:
            continue
        compose([clip, *words])


def test_the_example_of_a_motion_yaml_is_valid(workplace: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL)
    (workplace / "my_clips.yaml").write_text(example)
    assert motion_from_path("my_clips.yaml")["clips"] == yaml.safe_load(example)["clips"]


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "docs/dependencies.md"])
def test_links_between_documents_lead_somewhere(document: str) -> None:
    path = paths.CHECKOUT / document
    for target in re.findall(r"(?<!!)\[[^]]*\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), f"{document} links to {target}"


def test_every_direct_dependency_is_named_with_its_licence() -> None:
    setup = (paths.CHECKOUT / "setup.py").read_text(encoding="utf-8")
    document = (paths.CHECKOUT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    names = re.findall(r'"([A-Za-z][A-Za-z0-9-]*)>=', setup)
    assert len(names) > 15
    for name in names:
        assert re.search(rf"\b{name}\b", document, flags=re.IGNORECASE), name
