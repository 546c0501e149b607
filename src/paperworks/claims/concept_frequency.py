"""Claims of 'No "Zero-Shot" Without Exponential Data', arXiv 2404.04125, sections 3 and 4.

Accuracy is said to be linear in the log of concept frequency. The paper shows it on bin means; here
laws are fitted to some concepts and judged on others. Rivals are a constant, a line in frequency
itself, and a sigmoid in log frequency, which can do all that the line can and also level off.

The authors' counts and accuracies ship beside this module; ``concept_frequency_published.md`` says
where they come from. The other claims train two-tower models here, on captions and images whose
concept frequencies are set; the frequencies are then counted in the captions, not taken on trust.
At equal similarity the test images are drawn again, so that every concept's are equally similar to
their nearest training image; concepts whose images are too unlike the others' are left out (chosen
by similarity alone). (The paper prunes the training set instead; its own pruned set is one
of the works of the first claim. Here pruning to a reference of four images per concept left some
3 % of the training set in a trial, so that it was put aside before any law had been fitted.)

The settings were chosen so that rare concepts are above chance and frequent ones below certainty,
from the mean accuracies of quarters of the concepts; no law had been fitted by then.
"""

from __future__ import annotations

import csv
import gzip
from importlib import resources
from typing import Any

import numpy as np

from paperworks.experiment import Axes, Claim, Curve, Effect, Tier, TrialResult
from paperworks.scaling.concept_frequency.counting import count_captions
from paperworks.scaling.concept_frequency.rivals import LAWS, compare_trends, held_out
from paperworks.scaling.concept_frequency.similarity import match_similarity, nearest_similarity

LINE = "line in log frequency"
RIVALS = {
    LINE: "log-linear",
    "constant": "constant",
    "line in frequency": "linear",
    "sigmoid in log frequency": "sigmoid",
}
MODELS = (
    ("cc3m", "RN50"),
    ("cc3m", "ViT-B-16"),
    ("cc12m", "RN50"),
    ("cc12m", "ViT-B-16"),
    ("yfcc15m", "RN50"),
    ("yfcc15m", "RN101"),
    ("yfcc15m", "ViT-B-16"),
    ("laion400m", "ViT-B-32"),
    ("laion400m", "ViT-B-16"),
    ("laion400m", "ViT-L-14"),
    ("laion200m", "ViT-B-32"),
)
TRAIN_SHARE = 0.75  # of Omniglot's drawings of each character


def published_table() -> dict[str, list[str]]:
    """The authors' numbers by column."""
    table = resources.files("paperworks.claims") / "concept_frequency_published.csv.gz"
    with table.open("rb") as packed:
        rows = list(csv.DictReader(gzip.decompress(packed.read()).decode().splitlines()))
    return {column: [row[column] for row in rows] for column in rows[0]}


def published(*, seed: int, device: str, pretraining: str, model: str) -> TrialResult:
    """One model's accuracies: laws fitted to a random half of the concepts, judged on the other."""
    table = published_table()
    frequency = np.array(table[pretraining], dtype=float)
    accuracy = np.array(table[f"{model} {pretraining}"], dtype=float)
    x, y = np.log10(frequency[frequency > 0]), accuracy[frequency > 0]
    held = np.zeros(x.size, dtype=bool)
    held[np.random.default_rng(seed).permutation(x.size)[: x.size // 2]] = True
    errors = held_out(x, y, held, list(RIVALS.values()))
    values = dict(zip(RIVALS, np.sqrt((errors**2).mean(1)).tolist(), strict=True))
    return TrialResult(values, _curves(x, y))


def two_towers(
    *,
    seed: int,
    device: str,
    source: str,
    concepts: int,
    most: int,
    exponent: float,
    tests: int,
    equal_similarity: bool,
    training: dict[str, Any],
) -> TrialResult:
    """Train a model from nothing; its concepts' accuracies under every law, cross-validated."""
    frequency, accuracy = trained_accuracies(
        seed=seed,
        source=source,
        concepts=concepts,
        most=most,
        exponent=exponent,
        tests=tests,
        equal_similarity=equal_similarity,
        training=training,
    )
    found = compare_trends(
        frequency, 100 * accuracy, laws=list(RIVALS.values()), folds=6, repeats=4, rng=seed
    )
    values = dict(zip(RIVALS, found.rmse.tolist(), strict=True))
    return TrialResult(values, _curves(np.log10(frequency), 100 * accuracy))


def trained_accuracies(
    *,
    seed: int,
    source: str,
    concepts: int,
    most: int,
    exponent: float,
    tests: int,
    equal_similarity: bool,
    training: dict[str, Any],
) -> tuple[Any, Any]:
    """(counted frequency, zero-shot accuracy) of each concept of a model trained here."""
    from paperworks.claims import _two_towers as towers

    rng = np.random.default_rng(seed)
    how = towers.Training(**training)
    learn: towers.Glyphs | towers.Drawings
    test: towers.Glyphs | towers.Drawings
    if source == "glyphs":
        learn = test = towers.Glyphs(concepts, how.size, rng)
    else:
        drawings = rng.permuted(omniglot(concepts, how.size, rng), axis=1)
        cut = round(TRAIN_SHARE * drawings.shape[1])
        learn, test = towers.Drawings(drawings[:, :cut]), towers.Drawings(drawings[:, cut:])
    names = towers.concept_names(concepts)
    sizes = towers.frequencies(concepts, most, exponent, rng)
    labels = np.repeat(np.arange(concepts), sizes)
    images, lines = learn.draw(labels, rng), towers.captions(labels, names, rng)
    vocabulary = towers.vocabulary_of(names)
    model = towers.train(images, lines, vocabulary, how, seed)
    pool = 20 * tests if equal_similarity else tests
    asked = np.repeat(np.arange(concepts), pool)
    shown = test.draw(asked, rng)
    if equal_similarity:
        middle = images.mean(0)
        similarity = nearest_similarity(images - middle, shown - middle)
        kept = match_similarity(similarity, asked, per_group=tests, leave_out=True, rng=rng)
        asked, shown = asked[kept], shown[kept]
    there = np.unique(asked)
    accuracy = towers.accuracy(model, shown, asked, names, vocabulary)
    return count_captions(lines, names, lemmas=None).text[there], accuracy[there]


def omniglot(concepts: int, size: int, rng: np.random.Generator) -> Any:
    """(concepts, 20, size, size) float32 drawings of different characters in [0, 1]."""
    import torch

    from paperworks.data import MissingDataError
    from paperworks.data.files import user_dir

    folder = user_dir()
    files = [
        folder / "omniglot" / f"images_background_small{i}.npz"
        for i in (1, 2)
        if folder is not None
    ]
    if not files or not all(file.is_file() for file in files):
        raise MissingDataError(
            "omniglot is not on this machine: set PAPERWORKS_DATA to a folder that holds "
            "omniglot/images_background_small1.npz and images_background_small2.npz"
        )
    found: dict[tuple[str, int], Any] = {}
    for file in files:
        with np.load(file, allow_pickle=False) as held:
            images = torch.from_numpy(held["images"].astype(np.float32))
            small = torch.nn.functional.adaptive_max_pool2d(images[:, None], size)[:, 0].numpy()
            names = held["alphabet_names"][held["alphabet"]].tolist()
            characters = held["character"].tolist()
        taken = {alphabet for alphabet, _ in found}  # both files hold Greek and Latin
        for key in dict.fromkeys(zip(names, characters, strict=True)):
            if key[0] not in taken:
                mine = [k == key for k in zip(names, characters, strict=True)]
                found[key] = small[np.array(mine)]
    chosen = rng.permutation(len(found))[:concepts]
    drawings = list(found.values())
    return np.stack([drawings[i] for i in chosen])


def _curves(x: Any, y: Any) -> list[Curve]:
    """Accuracy smoothed over concepts of like frequency, and every law fitted to all concepts."""
    groups = np.array_split(np.argsort(x, kind="stable"), min(10, x.size // 6))
    middle = [10 ** x[group].mean() for group in groups]
    curves = [Curve("measured", middle, [y[group].mean() for group in groups])]
    grid = np.linspace(x.min(), x.max(), 25)
    for label, law in RIVALS.items():
        curves.append(Curve(label, (10**grid).tolist(), LAWS[law](x, y)(grid).tolist()))
    return curves


def _towers(equal_similarity: bool) -> dict[str, Any]:
    quick = {
        "source": "glyphs",
        "concepts": 60,
        "most": 1200,
        "exponent": 1.3,
        "tests": 12 if equal_similarity else 25,
        "equal_similarity": equal_similarity,
        "training": {"size": 16, "hidden": 128, "epochs": 12, "convolutional": False},
    }
    drawn = {
        "source": "omniglot",
        "concepts": 240,
        "most": 1500,
        "exponent": 1.0,
        "tests": 12 if equal_similarity else 100,
        "equal_similarity": equal_similarity,
        "training": {"size": 28, "hidden": 16, "epochs": 20, "convolutional": True},
    }
    larger = {
        **quick,
        "concepts": 200,
        "most": 3000,
        "tests": 12 if equal_similarity else 100,
        "training": {"size": 20, "hidden": 16, "epochs": 20, "convolutional": True},
    }
    return {
        "quick": Tier(works=(quick,), seeds=5, timeout=120),
        "full": Tier(works=(drawn, larger), seeds=5, timeout=3600, memory=8),
    }


_COMMON: dict[str, Any] = {
    "paper": "concept-frequency",
    "metric": "root mean squared error at held-out concepts, percentage points of accuracy",
    "better": "lower",
    "ours": LINE,
    "contenders": tuple(label for label in RIVALS if label != LINE),
    "effect": Effect("ratio", 1.0),
    "axes": Axes("frequency of the concept", "zero-shot accuracy, per cent", x_scale="log"),
}
_PUBLISHED = [{"pretraining": pretraining, "model": model} for pretraining, model in MODELS]

CLAIMS = (
    Claim(
        **_COMMON,
        name="published",
        statement=(
            "On the paper's own counts and accuracies (eleven models, five pretraining sets, one "
            "of them pruned to equal train-test similarity) a line in log frequency predicts the "
            "accuracy at concepts it has not seen better than a constant, than a line in "
            "frequency, and than a sigmoid in log frequency."
        ),
        trial=published,
        quick=Tier(works=_PUBLISHED, seeds=5, timeout=60),
        full=Tier(works=_PUBLISHED, seeds=20, timeout=60),
    ),
    Claim(
        **_COMMON,
        name="two-towers",
        statement=(
            "For two-tower models trained here on captions and images with set concept "
            "frequencies, a line in log frequency predicts zero-shot accuracy at concepts it has "
            "not seen better than a constant, than a line in frequency, and than a sigmoid in "
            "log frequency."
        ),
        trial=two_towers,
        **_towers(equal_similarity=False),
    ),
    Claim(
        **_COMMON,
        name="equal-similarity",
        statement=(
            "The same holds where every concept's test images are equally similar to the "
            "training images."
        ),
        trial=two_towers,
        **_towers(equal_similarity=True),
    ),
)
