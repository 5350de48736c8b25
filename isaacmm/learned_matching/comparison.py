"""All figures of networks beside the search that they replace, as ``evaluate`` prints them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from isaacmm.learned_matching import evaluation as ev
from isaacmm.learned_matching.controller import LearnedController
from isaacmm.learned_matching.networks import LearnedMM
from isaacmm.learned_matching.rows import Rows
from isaacmm.matching.controller import Controller, Locking, Settings
from isaacmm.matching.database import Database

#: Figures of steering, and their units.
UNITS = {"velocity": "m/s", "facing": "deg", "place": "m", "slide": "m/s", "stands": "", "jumps": "1/s"}


def compare(
    model: LearnedMM,
    meta: Mapping[str, Any],
    open_at: Callable[[float], Database],
    scripts: Sequence[str],
    seconds: float,
    fps: float,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Follow ``scripts`` by networks and by search, and measure both.

    Args:
        model, meta: of a fit.
        open_at: the database that it was made from, at any rows per second.
        scripts: one per character.
        seconds, fps: of each play.
        say: for a line of text at a time.

    Returns:
        What was told, as plain numbers.
    """
    # without locking and separation: what the motion itself does, not what is mended afterwards
    bare = Settings(locking=Locking(enabled=False), separate=False)
    learned = LearnedController(model, dict(meta), len(scripts), fps=fps, settings=bare)
    networks = ev.steered(ev.play(learned, scripts, seconds))
    searches = learned.playhead.searches
    database = open_at(fps)
    searched = Controller(database, len(scripts), settings=bare)
    twins = ev.listen(searched)
    search = ev.steered(ev.play(searched, scripts, seconds))
    told: dict[str, Any] = {"seconds": seconds, "fps": fps, "scripts": list(scripts), "projections": searches}
    say(f"{len(scripts)} scripts of {seconds:g} s at {fps:g} frames per second: search | networks")
    for name, unit in UNITS.items():
        a, b = getattr(search, name), getattr(networks, name)
        each = "  ".join(f"{s} {x:.2f}|{y:.2f}" for s, x, y in zip(scripts, a.tolist(), b.tolist(), strict=True))
        ratio = float(b.mean() / a.mean().clamp(min=1e-6))
        say(f"  {name:<9}{float(a.mean()):8.3f} | {float(b.mean()):.3f} {unit} ({ratio:.2f}x)   {each}")
        told[name] = {"search": a.tolist(), "networks": b.tolist(), "ratio": ratio}
    rate = float(meta["rate"])
    rows = Rows(database if fps == rate else open_at(rate))
    if fps == rate:
        told["choices"] = picked = ev.choices(
            model, rows, twins.notes, learned.settings.stay_bias, learned.playhead.near
        )
        say("what the projector picks: " + ", ".join(f"{k} {v:.3g}" for k, v in picked.items()))
    told["memory_mb"] = sizes = ev.memory(model, rows)
    say("MB: " + ", ".join(f"{k} {v:.2f}" for k, v in sizes.items()))
    spent = ev.times(model, rows, searched)
    spent["per_frame"] = ev.per_frame(spent, rate, fps, learned.settings.search_seconds)
    told["milliseconds"] = spent
    say("ms on one core: " + ", ".join(f"{k} {v:.3f}" for k, v in spent.items()))
    return told
