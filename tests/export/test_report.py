"""The page and its curves."""

from __future__ import annotations

import math
from html.parser import HTMLParser
from pathlib import Path

import pytest

from isaacmm.evaluate import metrics
from isaacmm.evaluate.evaluation import Evaluation
from isaacmm.export import curves
from isaacmm.export.report import Page, headline
from tests.evaluate.made import as_rollout, statue
from tests.helpers import character

CONFIG = {"task": {"name": "HumanoidAMP", "env": {"control_hz": 30, "physics_hz": 120}}, "sim": "mujoco"}


class Strict(HTMLParser):
    """Refuses tags that are not closed in order."""

    VOID = frozenset({"meta", "img", "br", "link"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(page: Page) -> Strict:
    parser = Strict()
    parser.feed(page.html())
    parser.close()
    assert parser.open == []
    return parser


@pytest.fixture
def evaluation() -> Evaluation:
    motion = statue((1.1, 0.0))
    rollout = as_rollout([motion], (1.0, 0.0), 1.0)
    clips = metrics.of_clips([motion], [1.0], character(), 30.0)
    facts = {"num_envs": 1, "seconds": 3.0, "seed": 1, "deterministic": True}
    return Evaluation(metrics.of_rollout(rollout), clips, rollout, facts)


def progress(path: Path, rows: int = 40) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["samples,survival,speed_error,task_reward,style_reward,disc_demo_accuracy,disc_agent_accuracy"]
    lines += [f"{1000 * i},{0.1 * i},{1 / (i + 1)},0.5,nan,1,0.9" for i in range(rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_page_of_everything(tmp_path: Path, evaluation: Evaluation) -> None:
    files = "policy.onnx", "command.onnx", "videos/film.mp4", "nn/last.pth"
    for name in ("motions/policy_1.bvh", "motions/a b.bvh", *files):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * 100)
    rows = curves.read_progress(progress(tmp_path / "summaries" / "progress.csv"))
    page = Page("run", tmp_path, CONFIG, {"counters": {"samples": 2_100_000, "seconds": 600}}, evaluation)
    page.curves, page.film = curves.draw(rows), tmp_path / "videos" / "film.mp4"
    text = parsed(page).text
    assert "2.10 million samples in 10.0 minutes" in text
    assert "foot slide in contact" in text and "What the numbers mean" in text
    assert "keep its next_state" in text
    html = page.html()
    assert "motions/a%20b.bvh" in html and html.count("data:image/png;base64,") == 1
    assert "data:video/mp4;base64,eHh4" in html
    page.write(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == html


def test_a_page_of_next_to_nothing(tmp_path: Path) -> None:
    text = parsed(Page("run", tmp_path, {}, missing=["Not made: film. No <lens>."])).text
    assert "not evaluated" in text and "No <lens>." in text


def test_names_cannot_break_the_page(tmp_path: Path, evaluation: Evaluation) -> None:
    page = Page("<script>alert(1)</script>", tmp_path, {**CONFIG, "sim": '"><b>'}, {}, evaluation)
    assert "<script>" not in page.html()
    parsed(page)


def test_a_long_film_is_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isaacmm.export.report.LARGEST_FILM", 10)
    film = tmp_path / "videos" / "f.mp4"
    film.parent.mkdir()
    film.write_bytes(b"x" * 11)
    html = Page("run", tmp_path, CONFIG, film=film).html()
    assert 'src="videos/f.mp4"' in html and "base64" not in html


def test_the_headline_is_a_sentence(evaluation: Evaluation) -> None:
    assert headline(evaluation) == (
        "Stays up for 3.0 of 3 s on average, moving at 1.10 m/s where 1.00 m/s were commanded "
        "(off by 0.10 m/s on average)."
    )
    evaluation.policy |= {"speed_error_1s": math.nan, "speed_error": math.nan}
    assert headline(evaluation) == "Stays up for 3.0 of 3 s on average."


def test_curves_are_a_picture(tmp_path: Path) -> None:
    rows = curves.read_progress(progress(tmp_path / "progress.csv"))
    assert len(rows["samples"]) == 40 and math.isnan(rows["style_reward"][0])
    assert curves.draw(rows).startswith(b"\x89PNG")


def test_a_curve_file_that_was_cut_off_is_read_up_to_there(tmp_path: Path) -> None:
    path = progress(tmp_path / "progress.csv", rows=5)
    path.write_text(path.read_text() + "5000,0.7")
    assert len(curves.read_progress(path)["samples"]) == 5


@pytest.mark.parametrize("rows", [0, 1])
def test_too_few_points_are_no_picture(tmp_path: Path, rows: int) -> None:
    assert curves.draw(curves.read_progress(progress(tmp_path / "p.csv", rows))) == b""
    assert curves.draw(curves.read_progress(tmp_path / "nowhere.csv")) == b""


def test_smoothing_keeps_constants_and_skips_gaps() -> None:
    assert curves.smooth([2.0] * 100, 0.1) == [2.0] * 100
    assert curves.smooth([1.0, math.nan, 3.0] * 20, 0.2)[30] == pytest.approx(2.0, abs=0.3)
    assert math.isnan(curves.smooth([math.nan])[0])
