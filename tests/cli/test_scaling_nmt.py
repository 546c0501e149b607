"""``paperworks scaling encoder-decoder`` as a person runs it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from paperworks.scaling import BleuLaw, EncoderDecoderLaw

LAWS = {
    "source-original": EncoderDecoderLaw(0.3, 0.05, 0.20, 1.0, 1e8, 2e8),
    "target-original": EncoderDecoderLaw(0.6, 0.30, 0.35, 1.4, 1e8, 2e8),
}
BLEU = BleuLaw(60.0, 1.5)


def run(*arguments: object) -> Result:
    from paperworks.cli import app

    return CliRunner().invoke(
        app, ["scaling", "encoder-decoder", *map(str, arguments)], env={"COLUMNS": "200"}
    )


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    lines = ["encoder_params,decoder_params,test_set,loss,bleu"]
    for n_e in np.geomspace(2e7, 1e9, 5):
        for n_d in np.geomspace(2e7, 1e9, 5):
            for name, law in LAWS.items():
                loss = float(law(n_e, n_d)) * np.exp(rng.normal(0, 1e-3))
                bleu = float(BLEU(loss)) * np.exp(rng.normal(0, 0.005))
                lines.append(f"{n_e:.6g},{n_d:.6g},{name},{loss:.6f},{bleu:.4f}")
    path = tmp_path / "runs.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_says_constants_splits_and_bleu(runs: Path) -> None:
    told = json.loads(
        run(runs, "--budget", 1e9, "--reference", "1e8,2e8", "--json", "--resamples", 50,
            "--mix", "source-original=1,target-original=3").stdout
    )  # fmt: skip
    for name, law in LAWS.items():
        found = told["test_sets"][name]
        for constant in ("alpha", "p_e", "p_d", "L_inf"):
            each = found["law"][constant]
            assert each["low"] <= each["value"] <= each["high"]
            assert each["value"] == pytest.approx(getattr(law, constant), rel=0.25)
        assert found["models"] == 25
        (split,) = found["splits"]
        assert split["encoder_share"] == pytest.approx(law.optimal_split(1e9).share, abs=0.05)
        assert split["encoder"] + split["decoder"] == pytest.approx(1e9)
        assert next(iter(found["held_out"])) == "encoder-decoder"
        assert found["bleu"]["p"]["value"] == pytest.approx(1.5, abs=0.1)
        assert "bleu-power" in found["bleu"]["held_out"]
    assert told["mixture"]["weights"] == {"source-original": 1, "target-original": 3}
    shares = [s["splits"][0]["encoder_share"] for s in told["test_sets"].values()]
    assert min(shares) < told["mixture"]["splits"][0]["encoder_share"] < max(shares)


def test_for_people(runs: Path) -> None:
    result = run(runs, "--budget", 1e9, "--resamples", 20, "--mix", "source-original=1")
    assert result.exit_code == 0, result.output
    assert "source-original: 25 models" in result.stdout
    assert "p_e" in result.stdout
    assert "total-parameters is off by" in result.stdout
    assert "of 1e+09 parameters" in result.stdout
    assert "the mixture: of 1e+09" in result.stdout
    assert "BLEU = 6" in result.stdout


def test_a_warning_names_its_test_set(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    lines = ["encoder_params,decoder_params,test_set,loss"]
    for n_e in (1e7, 4e7, 1.6e8):
        for n_d in (1e7, 4e7, 1.6e8):
            for name, law in LAWS.items():
                loss = float(law(n_e, n_d)) * np.exp(rng.normal(0, 0.02))
                lines.append(f"{n_e:.6g},{n_d:.6g},{name},{loss:.6f}")
    path = tmp_path / "noisy.csv"
    path.write_text("\n".join(lines) + "\n")
    result = run(path, "--resamples", 50)
    assert result.exit_code == 0, result.output
    assert "warning: source-original: p_e is not determined" in result.stderr


def test_without_test_sets_or_bleu(runs: Path, tmp_path: Path) -> None:
    rows = [line.split(",") for line in runs.read_text().splitlines()]
    kept = [",".join((r[0], r[1], r[3])) for r in rows if r[2] != "target-original"]
    file = tmp_path / "plain.csv"
    file.write_text("\n".join([*kept, "1e8,-2,1.5"]) + "\n")
    result = run(file, "--resamples", 20)
    assert result.exit_code == 0, result.output
    assert "all rows: 25 models" in result.stdout
    assert "BLEU" not in result.stdout
    assert "line 27: decoder_params must be > 0, got '-2'" in result.stderr
    assert run(file, "--strict").exit_code == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--reference", "1e8"), "--reference must be two sizes"),
        (("--mix", "source-original"), "--mix must be weights by name"),
        (("--mix", "web=1", "--resamples", "5"), "there is no test set 'web'"),
        (("--budget", "-1", "--resamples", "5"), "budget must be finite and > 0, got -1"),
        (("--encoder", "size"), "has no column 'size'"),
    ],
)
def test_refuses(runs: Path, options: tuple[str, ...], words: str) -> None:
    result = run(runs, *options)
    assert result.exit_code == 2
    assert words in result.stderr
