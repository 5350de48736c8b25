"""report.html: one page that shows a run and says how to use what it left. Nothing outside the file is loaded."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from isaacmm import __version__
from isaacmm.evaluate.evaluation import Evaluation
from isaacmm.evaluate.metrics import METRICS
from isaacmm.export.page_style import CSS
from isaacmm.motion.io.files import atomic
from isaacmm.sim import registry

#: A film larger than this is linked instead of put into the page.
LARGEST_FILM = 12_000_000


@dataclass
class Page:
    """What goes into the page; whatever is missing is left out of it.

    Attributes:
        title: of the run.
        folder: the run's folder; files in it are linked relative to the page.
        config: composed configuration, plain.
        content: of the checkpoint: its counters are shown.
        evaluation: numbers of policy and clips.
        curves, strip: PNG files as bytes: learning curves, a row of moments from the film.
        film: an mp4 file.
        missing: sentences about exports that failed.
    """

    title: str
    folder: Path
    config: Mapping[str, Any]
    content: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Evaluation | None = None
    curves: bytes = b""
    strip: bytes = b""
    film: Path | None = None
    missing: Sequence[str] = ()

    def write(self, path: Path) -> None:
        """Write the page, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as file:
            file.write(self.html().encode())

    def html(self) -> str:
        """The page."""
        parts = [
            _heading(self),
            _pictures(self),
            _numbers(self.evaluation),
            _curves(self.curves),
            _files(self),
            _settings(self),
        ]
        title = escape(self.title)
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{title}</title>\n<style>{CSS}</style></head>\n<body><main>\n"
            + "\n".join(part for part in parts if part)
            + "\n</main></body></html>\n"
        )


def headline(evaluation: Evaluation | None) -> str:
    """What a person wants to know first, in one sentence."""
    if evaluation is None:
        return "The policy was not evaluated."
    values, facts = evaluation.policy, evaluation.facts
    seconds = float(facts.get("seconds", evaluation.rollout.seconds))
    text = f"Stays up for {values['survival']:.1f} of {seconds:g} s on average"
    speed, error = values.get("speed", math.nan), values.get("speed_error_1s", math.nan)
    if not math.isfinite(error):
        error = values.get("speed_error", math.nan)
    if math.isfinite(speed) and math.isfinite(error):
        text += (
            f", moving at {speed:.2f} m/s where {values['commanded_speed']:.2f} m/s were commanded "
            f"(off by {error:.2f} m/s on average)"
        )
    return text + "."


# ------------------------------------------------------------------------ parts
def _heading(page: Page) -> str:
    counters = page.content.get("counters", {})
    learned = ""
    if counters:
        minutes = float(counters.get("seconds", 0.0)) / 60.0
        samples = int(counters.get("samples", 0)) / 1e6
        learned = f" Learned from {samples:.2f} million samples in {minutes:.1f} minutes."
    missing = "".join(f'<p class="warning">{escape(text)}</p>' for text in page.missing)
    return f"<h1>{escape(page.title)}</h1>\n<p>{escape(headline(page.evaluation) + learned)}</p>{missing}"


def _pictures(page: Page) -> str:
    out = []
    if page.film is not None and page.film.is_file():
        if page.film.stat().st_size <= LARGEST_FILM:
            source = "data:video/mp4;base64," + base64.b64encode(page.film.read_bytes()).decode()
        else:
            source = _link(page.film, page.folder)
        out.append(f'<video controls loop muted playsinline preload="metadata" src="{source}"></video>')
    if page.strip:
        out.append(_image(page.strip, "Moments of the motion, from left to right"))
    return "<h2>What it does</h2>\n" + "\n".join(out) if out else ""


def _numbers(evaluation: Evaluation | None) -> str:
    if evaluation is None:
        return ""
    rows, meanings = [], []
    for metric in METRICS:
        values = [column.get(metric.name) for column in (evaluation.policy, evaluation.clips)]
        if values == [None, None]:
            continue
        cells = "".join(f"<td>{_value(value, metric.digits)}</td>" for value in values)
        definition = escape(metric.definition, quote=True)
        unit = escape(metric.unit).replace("^3", "³")
        rows.append(f'<tr title="{definition}"><th>{escape(metric.label)}</th>{cells}<td>{unit}</td></tr>')
        meanings.append(f"<dt>{escape(metric.label)}</dt><dd>{escape(metric.definition)}.</dd>")
    return (
        "<h2>How well</h2>\n"
        f"<p>{escape(evaluation.headline()[:1].upper() + evaluation.headline()[1:])}. Clips are not perfect "
        "either: the same arithmetic over both says how close the policy comes.</p>\n"
        '<table class="numbers"><thead><tr><th></th><th>policy</th><th>clips</th><th></th></tr></thead><tbody>'
        + "\n".join(rows)
        + "</tbody></table>\n<details><summary>What the numbers mean</summary><dl>"
        + "\n".join(meanings)
        + "</dl></details>"
    )


def _curves(picture: bytes) -> str:
    if not picture:
        return ""
    note = "<p>While training, with the noise that exploration needs; the table above is without.</p>"
    return f"<h2>How it learned</h2>\n{note}{_image(picture, 'Learning curves')}"


def _files(page: Page) -> str:
    rows = []
    for pattern, text in _uses(page):
        found = sorted(path for path in page.folder.glob(pattern) if path.is_file())
        if not found:
            continue
        shown = found[:12]
        links = " ".join(
            f'<a href="{_link(path, page.folder)}">{escape(path.relative_to(page.folder).as_posix())}</a>'
            for path in shown
        )
        more = f" and {len(found) - len(shown)} more" if len(found) > len(shown) else ""
        rows.append(f"<section class=file><p>{links}{more}</p>{text}</section>")
    return "<h2>What to do with it</h2>\n" + "\n".join(rows) if rows else ""


def _uses(page: Page) -> list[tuple[str, str]]:
    """Files of a run, and how each is used."""
    name = escape(page.folder.name)
    task = escape(str(page.config.get("task", {}).get("name", "HumanoidAMP")))
    return [
        (
            "motions/*.bvh",
            "<p>Motion as BVH: <code>policy_*</code> is what the simulated character did, <code>clip_*</code> what "
            "it learned from. Centimetres, y up, a joint <code>Root</code> with the way over the ground above the "
            "hips. Blender: <i>File, Import, Motion Capture (.bvh)</i> with scale 0.01. MotionBuilder and Maya "
            "read it as it is; for Unreal and Unity save it as FBX from one of these.</p>",
        ),
        (
            "policy.onnx",
            "<p>The policy for other programs: observations in, best action out, normalisation inside, any batch "
            "size. <code>policy.json</code> says what every number means, and what to do with the action.</p>"
            "<pre>import onnxruntime\npolicy = onnxruntime.InferenceSession('policy.onnx')\n"
            "action, = policy.run(['action'], {'obs': obs})  # float32 [n, O] -> [n, D]</pre>",
        ),
        ("policy.json", ""),
        (
            "command.onnx",
            "<p>From what the character is asked to do to the numbers its policy is told: run it once per control "
            "step, keep its <code>next_state</code> for the next one, and put its <code>condition</code> into the "
            "policy's observation. <code>policy.json</code>, under <code>command</code>, names inputs and outputs.</p>",
        ),
        ("matching.npz", "<p>The clips of the policy's twin; <code>policy.json</code>, under <code>twin</code>, says "
         "how it plays them.</p>"),
        (
            "videos/*.mp4",
            "<p>Films. Another one: "
            f"<code>python launch.py task={task} test=True checkpoint={name} capture_video=True</code></p>",
        ),
        (
            "nn/*.pth",
            f"<p>Checkpoints. To go on training: <code>python launch.py task={task} resume=True experiment={name}"
            f"</code>. To measure: <code>python -m isaacmm.evaluate checkpoint={name}</code>. To export again: "
            f"<code>python -m isaacmm.export checkpoint={name}</code></p>",
        ),
        ("evaluation.json", "<p>The numbers above, with units and definitions.</p>"),
        ("steering.json", "<p>How well commands were followed, with units and definitions.</p>"),
        ("summaries/progress.csv", "<p>Every number of every iteration; also for TensorBoard.</p>"),
        ("config.yaml", "<p>The complete configuration.</p>"),
        ("log.txt", ""),
    ]


def _settings(page: Page) -> str:
    config = page.config
    train = config.get("train", {}).get("params", {}).get("config", {})
    env = config.get("task", {}).get("env", {})
    rows = {
        "task": config.get("task", {}).get("name"),
        "motions": config.get("motion", {}).get("name"),
        "simulator": registry.label(config),
        "worlds": config.get("num_envs"),
        "seed": config.get("seed"),
        "reward": train.get("reward_combine"),
        "reference": env.get("reference"),
        "actions": env.get("action"),
        "control and physics": f"{env.get('control_hz')} and {env.get('physics_hz')} Hz",
        "isaacmm": __version__,
    }
    cells = "".join(
        f"<tr><th>{k}</th><td>{escape(str(v))}</td></tr>" for k, v in rows.items() if v is not None
    )
    return f"<h2>Settings</h2>\n<table>{cells}</table>"


# ---------------------------------------------------------------------- details
def _value(value: float | None, digits: int) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def _image(png: bytes, text: str) -> str:
    return f'<img alt="{escape(text)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def _link(path: Path, folder: Path) -> str:
    from urllib.parse import quote

    return quote(path.relative_to(folder).as_posix())
