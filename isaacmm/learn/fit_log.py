"""Numbers of a supervised fit for people: TensorBoard, a table on disk, a bar, a table beside baselines."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from isaacmm.learn.logging import ProgressBar, Stats, TrainingLog

BASELINE = "_baseline"
EVALUATION = "evaluation/"
_OWN = ("iteration", "samples")


class FitLog(TrainingLog):
    """As for policies: ``summaries/progress.csv`` and TensorBoard, one unbroken curve over resumptions.

    The columns are those of the first row, so that row should hold everything that will ever come.
    """

    def _summarise(self, stats: Stats) -> None:
        if self.writer is None:
            return
        try:
            for name, value in stats.items():
                if name not in _OWN:
                    tag = name if "/" in name else f"train/{name}"
                    self.writer.add_scalar(tag, value, int(stats["iteration"]))
        except OSError:
            self.writer = None
            raise


class FitBar(ProgressBar):
    """One line: loss and the first figure of the latest evaluation beside its baseline."""

    def show(self, stats: Stats) -> None:
        """After a logged step; ``stats`` as in the log."""
        self.bar.set_postfix_str(f"| step {int(stats['iteration'])}, loss {stats['loss']:.4g}", refresh=False)
        self.advance(int(stats["iteration"]), stats["seconds"])

    def advance(self, step: int, seconds: float) -> None:
        """Move the bar."""
        self.bar.update(max(0.0, 100.0 * self.share(step, seconds) - self.bar.n))


def table(values: Mapping[str, float]) -> str:
    """Figures in rows; those that come with ``<name>_baseline`` stand beside it, with the ratio of the two."""
    if not values:
        return ""
    width = max(map(len, values)) + 2
    rows = []
    for name, value in values.items():
        if name.endswith(BASELINE) and name.removesuffix(BASELINE) in values:
            continue
        base = values.get(name + BASELINE)
        row = f"{name:<{width}}{value:>11.5g}"
        if base is not None:
            ratio = f"{value / base:>8.2f}x" if base else ""
            row += f"{base:>13.5g}{ratio}"
        rows.append(row)
    head = f"{'':<{width}}{'model':>11}{'baseline':>13}{'ratio':>9}"
    return textwrap.indent("\n".join([head, *rows]), "  ")
