"""Tables of translation models: what is read, what is left out and why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from paperworks.scaling import BadLineError
from paperworks.scaling.nmt.records import read_translation_runs

HEAD = "encoder_params,decoder_params,test_set,loss,bleu\n"


def test_reads_all_columns_and_says_what_is_bad(tmp_path: Path) -> None:
    file = tmp_path / "runs.csv"
    file.write_text(
        HEAD + "1e8,2e8,news,1.6,30.5\n1e8,2e8,web,1.4,\n-1,2e8,web,1.4,31\n"
        "2e8,2e8,web,1.3,high\n2e8,2e8,,1.3,33\n2e8,4e8,news,1.5,32\n"
    )
    runs = read_translation_runs(file)
    assert runs.N_e.tolist() == [1e8, 1e8, 2e8]
    assert runs.N_d.tolist() == [2e8, 2e8, 4e8]
    assert runs.loss.tolist() == [1.6, 1.4, 1.5]
    assert runs.test_set is not None
    assert runs.test_set.tolist() == ["news", "web", "news"]
    assert runs.bleu is not None
    np.testing.assert_array_equal(runs.bleu, [30.5, np.nan, 32])
    assert runs.lines.tolist() == [2, 3, 7]
    assert [each.line for each in runs.bad] == [4, 5, 6]
    assert str(runs.bad[0]) == "line 4: encoder_params must be > 0, got '-1'"
    assert str(runs.bad[1]) == "line 5: bleu must be a number, got 'high'"
    with pytest.raises(BadLineError, match="line 4"):
        read_translation_runs(file, strict=True)


def test_other_names_and_missing_columns(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    file.write_text('{"e": 1e8, "d": 2e8, "nll": 1.5}\n{"e": 2e8, "d": 2e8, "nll": 1.4}\n')
    runs = read_translation_runs(file, encoder="e", decoder="d", loss="nll")
    assert runs.loss.tolist() == [1.5, 1.4]
    assert runs.test_set is None
    assert runs.bleu is None
    table = tmp_path / "runs.csv"
    table.write_text("encoder_params,loss\n1e8,1.5\n")
    with pytest.raises(ValueError, match="has no column 'decoder_params'"):
        read_translation_runs(table)


def test_a_bleu_that_is_no_number_stops_a_strict_reading(tmp_path: Path) -> None:
    file = tmp_path / "runs.csv"
    file.write_text(HEAD + "1e8,2e8,web,1.6,30.5\n1e8,2e8,web,1.4,\n2e8,2e8,web,1.4,0\n")
    assert read_translation_runs(file).lines.tolist() == [2, 3]
    with pytest.raises(BadLineError, match="line 4: bleu must be > 0, got '0'"):
        read_translation_runs(file, strict=True)


def test_a_table_without_any_bleu_still_has_losses(tmp_path: Path) -> None:
    file = tmp_path / "runs.csv"
    file.write_text(HEAD + "1e8,2e8,web,1.6,\n1e8,3e8,web,1.4,\n")
    runs = read_translation_runs(file)
    assert runs.bleu is not None
    assert np.isnan(runs.bleu).all()
    assert runs.bad == ()
