"""Draw the figures of docs/papers/nmt-scaling-laws.md, and print its tables: some seconds.

    python tools/nmt_figures.py

Both are made from the measured runs that ship with the claim.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
from deis_figures import INK, OTHERS, RED, STYLE
from matplotlib.figure import Figure

from paperworks.claims import nmt_scaling_laws as claim
from paperworks.claims._transduction import KINDS, Run
from paperworks.scaling import BleuLaw, Composition, compare_bleu_laws, fit_law, fit_test_sets
from paperworks.scaling.nmt.law import TOTAL

FOLDER = Path(__file__).parent.parent / "docs" / "papers"
NAMES = tuple(kind.name for kind in KINDS)
BLUE = OTHERS[0]
LAWS = {
    "both sizes": ("encoder-decoder", ("Ne", "Nd")),
    "total": (TOTAL, ("Ne", "Nd")),
    "sum of two power laws": ("chinchilla", ("N", "D")),
    "decoder alone": ("power-offset", ("unused", "x")),
}
BUDGET = 300_000.0


def fitted(run: Run) -> bool:
    return (run.encoder_layers, run.decoder_layers) in claim.FITTED


def main() -> None:
    runs = claim.table()
    both = pooled(runs)
    tables(runs, both)
    with mpl.rc_context(STYLE | {"svg.hashsalt": "nmt"}):
        for name, figure in {
            "held-out": held_out_figure(runs),
            "bleu": bleu_figure(runs),
        }.items():
            drawn = io.StringIO()
            figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None})
            target = FOLDER / f"nmt-{name}.svg"
            target.write_text(re.sub(r"(\.\d\d)\d{3,}", r"\1", drawn.getvalue()), encoding="utf-8")
            print(target)


def pooled(runs: list[Run]) -> Composition:
    """A law for each test set, over all models of all seeds."""
    return fit_test_sets(
        [run.encoder_params for run in runs],
        [run.decoder_params for run in runs],
        [run.loss for run in runs],
        [run.test_set for run in runs],
        N_e_bar=50_816,  # 4 + 4 layers
        N_d_bar=67_968,
    )


def errors(runs: list[Run], law: str) -> np.ndarray:
    """log(predicted / measured) on the held-out models, seed by seed: (seeds, sets, models)."""
    what, columns = LAWS[law]
    found = []
    for seed in sorted({run.seed for run in runs}):
        for name in NAMES:
            of = [run for run in runs if (run.seed, run.test_set) == (seed, name)]
            small = np.array([fitted(run) for run in of])
            loss = np.array([run.loss for run in of])
            sizes = dict(
                zip(
                    columns,
                    np.array([(run.encoder_params, run.decoder_params) for run in of], float).T,
                    strict=True,
                )
            )
            sizes.pop("unused", None)
            fit = fit_law(what, {k: v[small] for k, v in sizes.items()}, loss[small], resamples=1)
            said = fit({k: v[~small] for k, v in sizes.items()})
            found.append(np.log(said / loss[~small]))
    return np.array(found).reshape(-1, len(NAMES), len(claim.HELD_OUT))


def tables(runs: list[Run], both: Composition) -> None:
    depths = (*claim.FITTED, *claim.HELD_OUT)
    print("| encoder + decoder layers | parameters | " + " | ".join(
        f"{name}: loss, BLEU" for name in NAMES) + " |")  # fmt: skip
    print("| --- | --- |" + " --- |" * len(NAMES))
    for e, d in depths:
        row = []
        for name in NAMES:
            of = [
                run
                for run in runs
                if (run.encoder_layers, run.decoder_layers, run.test_set) == (e, d, name)
            ]
            loss = np.array([run.loss for run in of])
            row.append(
                f"{loss.mean():.3f} ± {loss.std(ddof=1):.3f}, {np.mean([r.bleu for r in of]):.1f}"
            )
        note = "" if (e, d) in claim.FITTED else " (held out)"
        size = f"{of[0].encoder_params:,} + {of[0].decoder_params:,}"
        print(f"| {e} + {d}{note} | {size} | " + " | ".join(row) + " |")
    print()
    print("| test set | alpha | p_e | p_d | L_inf | share | share, interval |")
    for name, law in both.laws.items():
        split = law.optimal_split(BUDGET)
        told = " | ".join(
            f"{each.value:.3f} ({each.low:.3f} to {each.high:.3f})"
            for each in law.intervals.values()
        )
        print(f"| {name} | {told} | {split.share:.3f} | {split.share_interval} |")
        print(" ", *law.warnings, sep="\n  ")
        print("  penalty of equal halves", law.penalty([0.5, 0.3, 0.7]))
    half = both.mixture()
    print("half and half:", half.optimal_split(BUDGET), half.exponents(50_816, 67_968))
    print()
    print("held out, rms of log loss in per cent: by seed, then of all")
    for law in LAWS:
        found = 100 * errors(runs, law)
        print(law, np.sqrt((found**2).mean((1, 2))).round(2), np.sqrt((found**2).mean()).round(2))
        for at, name in enumerate(NAMES):
            of = found[:, at]
            print("  ", name, "rms", np.sqrt((of**2).mean()).round(2), "mean", of.mean(0).round(2))
    print()
    for name in NAMES:
        of = [run for run in runs if run.test_set == name]
        loss, bleu = [run.loss for run in of], [run.bleu for run in of]
        law = BleuLaw.fit(loss, bleu)
        print(name, law, law.intervals["p"], law.source.rms if law.source else None)
        for kind, held in compare_bleu_laws(loss, bleu).ranked.items():
            print("  ", kind, "rms", held.rms, "bias", held.bias)


def held_out_figure(runs: list[Run]) -> Figure:
    """Loss against the total, by what the models are made of; and both laws' errors."""
    figure = Figure(figsize=(8.2, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    name = NAMES[-1]
    of = [run for run in runs if run.test_set == name]
    depths = (*claim.FITTED, *claim.HELD_OUT)
    for label, color, chosen in (
        ("more encoder", BLUE, [x for x in depths if x[0] > x[1]]),
        ("as many layers of each", INK, [x for x in depths if x[0] == x[1]]),
        ("more decoder", RED, [x for x in depths if x[0] < x[1]]),
    ):
        points = []
        for e, d in chosen:
            same = [run for run in of if (run.encoder_layers, run.decoder_layers) == (e, d)]
            total = same[0].encoder_params + same[0].decoder_params
            loss = float(np.mean([run.loss for run in same]))
            points.append((total, loss))
            left.annotate(f"{e}+{d}", (total, loss), (4, 3), textcoords="offset points",
                          fontsize=7, color=color)  # fmt: skip
        left.plot(*np.array(points).T, "o", ms=4.5, color=color, label=label)
    left.set(xscale="log", xlabel="parameters of both halves", ylabel="loss, nats per token",
             title=name)  # fmt: skip
    left.legend(fontsize=8)
    ticks = [3e4, 5e4, 1e5, 2e5]
    left.set_xticks(ticks, [f"{t / 1e3:.0f}k" for t in ticks])
    left.minorticks_off()
    for at, (law, color) in enumerate((("both sizes", RED), ("total", BLUE))):
        found = 100 * np.expm1(errors(runs, law))
        for column in range(len(claim.HELD_OUT)):
            place = column + 0.3 * (at - 0.5)
            values = found[:, :, column].ravel()
            right.plot(np.full(values.size, place), values, "o", ms=4, alpha=0.6, color=color,
                       label=law if column == 0 else None)  # fmt: skip
    right.axhline(0, color=INK, lw=0.8)
    right.set_xticks(range(len(claim.HELD_OUT)), [f"{e} + {d}" for e, d in claim.HELD_OUT])
    right.set(xlabel="held-out model, layers", ylabel="predicted loss off by, per cent",
              title="both test sets, five seeds")  # fmt: skip
    right.legend(fontsize=8, title="law in", title_fontsize=8)
    return figure


def bleu_figure(runs: list[Run]) -> Figure:
    """BLEU against loss, with the law of each test set."""
    figure = Figure(figsize=(4.6, 3.2), layout="constrained")
    axes = figure.subplots()
    for name, color in zip(NAMES, (BLUE, RED), strict=True):
        of = [run for run in runs if run.test_set == name]
        loss, bleu = np.array([run.loss for run in of]), np.array([run.bleu for run in of])
        law = BleuLaw.fit(loss, bleu, resamples=1)
        line = np.linspace(loss.min(), loss.max(), 100)
        axes.plot(loss, bleu, "o", ms=3.5, alpha=0.6, color=color)
        axes.plot(line, law(line), color=color, label=f"{name}: L^-{law.p:.2f}")
    axes.set(xscale="log", yscale="log", xlabel="loss, nats per token", ylabel="BLEU")
    ticks = [1.4, 1.6, 1.8, 2.0, 2.2]
    axes.set_xticks(ticks, [str(t) for t in ticks])
    axes.set_yticks([10, 15, 20, 25, 30], ["10", "15", "20", "25", "30"])
    axes.minorticks_off()
    axes.legend(fontsize=8)
    return figure


if __name__ == "__main__":
    main()
