"""The claim's own parts: the task, the models, BLEU, the table, the judging."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from importlib import resources

import numpy as np
import pytest
import torch

from paperworks.claims import _transduction as bed
from paperworks.claims import nmt_scaling_laws as claim
from paperworks.scaling import EncoderDecoderLaw
from paperworks.scaling.fitting import LAWS


def test_pairs_follow_the_two_tables() -> None:
    task = bed.Task(np.random.default_rng(0))
    for kind in bed.KINDS:
        source, target = task.pairs(3000, kind, np.random.default_rng(1))
        state = np.zeros(3000, int)
        before = np.zeros(3000, int)
        for t in range(bed.LENGTH):
            state = task.state[state, task.code[before, source[:, t]]]
            before = source[:, t]
            np.testing.assert_array_equal(target[:, t] // 2, state)
        rare = (target % 2).mean()
        assert abs(rare - kind.rare) < 5 * math.sqrt(kind.rare / 36_000)
        top = (source == 0).mean()
        assert top == pytest.approx(bed.zipf(bed.SOURCES, kind.zipf)[0], abs=0.02)


def test_decoder_reads_only_the_past_and_encoder_reads_all() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = bed.Translator(2, 2).eval()
    source = torch.randint(0, bed.SOURCES, (1, bed.LENGTH))
    read = torch.randint(0, bed.TARGETS, (1, bed.LENGTH))
    with torch.no_grad():
        logits = model.decode(read, model.encode(source))
        later = read.clone()
        later[0, 7] = (later[0, 7] + 1) % bed.TARGETS
        changed = model.decode(later, model.encode(source))
        other = source.clone()
        other[0, -1] = (other[0, -1] + 1) % bed.SOURCES
        elsewhere = model.decode(read, model.encode(other))
    assert torch.allclose(logits[0, :7], changed[0, :7], atol=1e-6)
    assert not torch.allclose(logits[0, 7], changed[0, 7], atol=1e-6)
    assert not torch.allclose(logits[0, 0], elsewhere[0, 0], atol=1e-6)


def test_sizes_are_what_a_transformer_layer_has() -> None:
    model = bed.Translator(3, 2)
    d = bed.WIDTH
    attention, feed, norm = 4 * d * d + 4 * d, 8 * d * d + 5 * d, 2 * d
    encoder, decoder = bed.sizes(model)
    assert encoder == 3 * (attention + feed + 2 * norm)
    assert decoder == 2 * (2 * attention + feed + 3 * norm)


def test_greedy_translation_is_the_argmax_of_the_logits() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = bed.Translator(1, 1).eval()
    source = torch.randint(0, bed.SOURCES, (4, bed.LENGTH))
    said = model.translate(source)
    begin = torch.full((4, 1), bed.BEGIN)
    with torch.no_grad():
        logits = model.decode(torch.cat([begin, said[:, :-1]], 1), model.encode(source))
    assert torch.equal(logits.argmax(-1), said)


def test_bleu_by_hand() -> None:
    same = [[1, 2, 3, 4, 5]]
    assert bed.corpus_bleu(same, same) == pytest.approx(100)
    assert bed.corpus_bleu([[1, 2, 3, 9, 5]], same) == 0.0  # no four words in a row
    # Words 7 of 8, pairs 5 of 7, threes 3 of 6, fours 1 of 5, over one corpus.
    ours, wanted = [[1, 2, 3, 4, 5, 9, 7, 8]], [[1, 2, 3, 4, 6, 5, 9, 7]]
    hits = (7, 5, 3, 1)
    words = [set(), set(), set(), set()]  # type: ignore[var-annotated]
    for n in range(4):
        a, b = ([tuple(s[0][i : i + n + 1]) for i in range(8 - n)] for s in (ours, wanted))
        words[n] = set(a) & set(b)
    assert tuple(map(len, words)) == hits
    product = math.prod(h / (8 - n) for n, h in enumerate(hits))
    assert bed.corpus_bleu(ours, wanted) == pytest.approx(100 * product**0.25)
    # A repeated word counts as often as the reference has it; brevity is punished.
    short = bed.corpus_bleu([[1, 2, 3, 4]], same)
    assert short == pytest.approx(100 * math.exp(1 - 5 / 4))


def test_training_learns_and_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bed, "TESTED", 256)
    before = torch.random.get_rng_state()
    one, two = (bed.train(3, (1, 1), steps=8) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert one == two
    assert [run.test_set for run in one] == [kind.name for kind in bed.KINDS]
    assert all(run.loss < math.log(bed.TARGETS + 1) - 0.3 for run in one)


def test_the_table_is_the_one_that_its_note_names() -> None:
    folder = resources.files("paperworks.claims")
    note = (folder / "nmt_scaling_laws_runs.md").read_text("utf-8")
    assert hashlib.sha256((folder / claim.TABLE).read_bytes()).hexdigest() in note
    runs = claim.table()
    wanted = {
        (seed, *depths, kind.name)
        for seed in range(5)
        for depths in (*claim.FITTED, *claim.HELD_OUT)
        for kind in bed.KINDS
    }
    found = [(r.seed, r.encoder_layers, r.decoder_layers, r.test_set) for r in runs]
    assert set(found) == wanted
    assert len(found) == len(wanted)
    for run in runs:
        model = bed.Translator(run.encoder_layers, run.decoder_layers)
        assert (run.encoder_params, run.decoder_params) == bed.sizes(model)
    total = {
        (r.encoder_layers, r.decoder_layers): r.encoder_params + r.decoder_params for r in runs
    }
    assert max(total[d] for d in claim.FITTED) < min(total[d] for d in claim.HELD_OUT)


@pytest.mark.parametrize("best", [claim.BIVARIATE, claim.BY_TOTAL])
def test_the_law_that_made_the_losses_wins(best: str) -> None:
    made = EncoderDecoderLaw(0.6, 0.1, 0.4, 0.8, 3e4, 3e4)
    runs = []
    for run in claim.table():
        if run.seed:
            continue
        total = run.encoder_params + run.decoder_params
        by_total = LAWS["power-offset"]({"E": 0.8, "A": 30.0, "alpha": 0.3}, {"x": total})
        by_both = made(run.encoder_params, run.decoder_params)
        runs.append(replace(run, loss=float(by_both if best == claim.BIVARIATE else by_total)))
    rng = np.random.default_rng(0)
    runs = [replace(run, loss=run.loss * math.exp(rng.normal(0, 1e-3))) for run in runs]
    values = claim.judge(runs).values
    assert min(values, key=values.__getitem__) == best
    assert values[best] < 0.5


def test_values_are_per_cent_on_the_held_out_models() -> None:
    runs = [run for run in claim.table() if run.seed == 0]
    result = claim.judge(runs)
    # Losses that no fit sees may be changed; the error moves with them and the fits do not.
    far = [
        replace(run, loss=run.loss * 2)
        if (run.encoder_layers, run.decoder_layers) in claim.HELD_OUT
        else run
        for run in runs
    ]
    moved = claim.judge(far)
    for label in (claim.BIVARIATE, claim.BY_TOTAL):
        assert moved.values[label] == pytest.approx(100 * math.log(2), abs=2 * result.values[label])
        curves = [next(c for c in each.curves if c.label == label) for each in (result, moved)]
        assert curves[0] == curves[1]
