"""Packaging. `pip install -e .` is the usual way in; a regular install carries cfg/ and motions/ along."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent

INSTALL_REQUIRES = [
    "torch>=2.11,<2.14",
    "mujoco>=3.17,<4",
    "rl-games>=1.6.5,<2",
    "hydra-core>=1.3.2,<2",
    "omegaconf>=2.3,<3",
    "pyyaml>=6,<7",
    "roma>=1.5,<2",
    "numpy>=2.0,<3",
    "scipy>=1.13,<2",
    "numba>=0.61",
    "trimesh>=4.4",
    "onnx>=1.17,<2",
    "onnxruntime>=1.20,<2",
    "tensorboard>=2.17,<3",
    "tqdm>=4.66,<5",
    "av>=14",
    "gymnasium>=1.0,<2",
    "matplotlib>=3.9,<4",
]

# The versions that go with mujoco 3.17 and later 3.x; isaacmm/sim/warp_setup.py refuses others in words.
WARP = ["mujoco-warp>=3.17,<4", "warp-lang>=1.19,<2"]

# There is no extra for Isaac Lab on purpose: it pins newton 1.6.1, which pins mujoco to 3.12, and we need 3.17. They
# work together (the contract says so), but pip would refuse; docs/simulators.md has the commands that do it.
EXTRAS_REQUIRE = {
    "gpu": WARP,
    "view": ["glfw>=2.7"],
    # Warp as well: the GPU simulator passes its contract on Warp's CPU device
    "test": ["pytest>=8.3", "hypothesis>=6.100", "ruff>=0.14", "mypy>=1.13", *WARP],
}


class BuildWithData(build_py):
    """Puts cfg/ and motions/ inside the package, where `isaacmm.paths` finds them without a checkout."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:  # the checkout itself is used
            return
        for folder in ("cfg", "motions"):
            source = HERE / folder
            if source.is_dir():
                target = Path(self.build_lib) / "isaacmm" / "_data" / folder
                shutil.copytree(source, target, dirs_exist_ok=True)


setup(
    name="isaacmm",
    version="0.1.0",
    description="Trains physically simulated characters that follow commands in the style of motion clips.",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=find_packages(include=["isaacmm", "isaacmm.*"]),
    package_data={"isaacmm": ["py.typed", "assets/*", "assets/**/*", "*/*.json", "*/*.yaml"]},
    install_requires=INSTALL_REQUIRES,
    extras_require=EXTRAS_REQUIRE,
    entry_points={
        "console_scripts": ["isaacmm=isaacmm.cli.main:main"],
        # Isaac Lab's own commands look here for tasks: isaaclab train --task Isaacmm-HumanoidMM-v0
        "isaaclab.tasks": ["isaacmm=isaacmm.isaaclab_task"],
    },
    cmdclass={"build_py": BuildWithData},
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Multimedia :: Graphics :: 3D Modeling",
    ],
)
