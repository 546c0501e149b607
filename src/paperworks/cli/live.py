"""The live table of a run: one row per claim, a progress bar, then the verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from paperworks.cli.common import errors
from paperworks.experiment import Claim
from paperworks.experiment.runner import Finished
from paperworks.experiment.store import Store
from paperworks.experiment.trial import Trial
from paperworks.report import Entry, collect
from paperworks.report.render import duration

_STYLES = {
    "holds": "bold green",
    "holds in part": "yellow",
    "inconclusive": "cyan",
    "does not hold": "bold red",
    "not run": "dim",
}
_OTHER_LINES = 7  # of the screen, that the table's rows do not get


def verdict_table(entries: Sequence[Entry]) -> Table:
    """One row per entry: verdict, effect, interval, what the paper needs, time."""
    table = _table("claim", "verdict", "effect", "95 % interval", "paper needs", "time")
    for entry in entries:
        verdict = entry.verdict
        table.add_row(
            entry.claim.id,
            Text(verdict.conclusion, _STYLES[verdict.conclusion]),
            entry.effect_text,
            entry.interval_text,
            entry.needed_text,
            duration(entry.seconds) if entry.trials else "–",
        )
    return table


class Progress:
    """Shows a run on standard error while it goes on.

    On a terminal it is a table that is redrawn, with the claims under way; elsewhere one line
    per claim that ends.
    """

    def __init__(
        self, claims: Sequence[Claim], trials: Sequence[Trial], store: Store, tier: str, device: str
    ) -> None:
        self._claims = {claim.id: claim for claim in claims}
        self._wanted = Counter(trial.claim.id for trial in trials)
        self._done: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._entries: dict[str, Entry] = {}
        self._store, self._tier, self._device = store, tier, device
        self._bar = Bar(
            TextColumn("trials"), BarColumn(None), MofNCompleteColumn(), TimeElapsedColumn()
        )
        self._task = self._bar.add_task("", total=len(trials))
        self._live = Live(console=errors, get_renderable=self._draw, transient=True)

    def __enter__(self) -> Progress:
        if errors.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if errors.is_terminal:
            self._live.stop()

    def update(self, finished: Finished) -> None:
        """Count one finished trial; judge its claim when it was the last one."""
        claim = finished.trial.claim
        self._done[claim.id] += 1
        self._failed[claim.id] += finished.outcome.result is None
        self._bar.advance(self._task)
        if self._done[claim.id] < self._wanted[claim.id]:
            return
        entry = collect([claim], self._store, tier=self._tier, device=self._device)[0]
        self._entries[claim.id] = entry
        if not errors.is_terminal:
            count = self._wanted[claim.id]
            errors.print(
                f"{claim.id}: {entry.verdict.conclusion}, effect {entry.effect_text} "
                f"({entry.interval_text}), {count} trial{'s' if count > 1 else ''}",
                soft_wrap=True,
                highlight=False,
            )

    def _draw(self) -> Group:
        table = _table("claim", "trials", "effect", "95 % interval", "verdict")
        # Those under way first: the screen may be shorter than the list.
        order = sorted(self._claims, key=lambda id: (id in self._entries, not self._done[id]))
        for id in order[: max(1, errors.height - _OTHER_LINES)]:
            entry = self._entries.get(id)
            count = Text(f"{self._done[id]}/{self._wanted[id]}")
            if self._failed[id]:
                count.append(f" {self._failed[id]} failed", "red")
            if entry is None:
                table.add_row(id, count, "", "", Text("…", "dim"))
            else:
                conclusion = entry.verdict.conclusion
                style = _STYLES[conclusion]
                table.add_row(
                    id, count, entry.effect_text, entry.interval_text, Text(conclusion, style)
                )
        return Group(table, self._bar)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
