from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from paperworks.claims.concept_frequency import published_table
from paperworks.scaling import balance_images, long_tail
from paperworks.scaling.concept_frequency.tail import distinct, perceptual_hash

pytest.importorskip("simplemma")


def test_the_rarest_come_first_and_once() -> None:
    frequency = {"b": 5, "a": 5, "dogs": 0, "Dog": 1, "frog, tree": 2, "tree_frog": 3, "x": 99}
    tail = long_tail(frequency, 4)
    assert tail.concepts == ("dogs", "frog, tree", "a", "b")
    assert tail.frequency.tolist() == [0, 2, 5, 5]
    assert tail.same == {"Dog": "dogs", "tree_frog": "frog, tree"}
    assert (tail.short, tail.frequent, tail.images_wanted) == (0, 0, 1800)
    few = long_tail(frequency, 9, max_frequency=4, images_per_concept=3)
    assert few.concepts == ("dogs", "frog, tree")
    assert (few.short, few.frequent, few.images_wanted) == (7, 3, 6)


def test_synonyms_are_one_concept_through_a_third() -> None:
    concepts = {"puppy": [], "dog": ["puppy", "hound"], "hounds": []}
    tail = long_tail({"puppy": 0, "dog": 1, "hounds": 2}, 3, concepts=concepts)
    assert tail.concepts == ("puppy",)
    assert tail.same == {"dog": "puppy", "hounds": "puppy"}


def test_the_papers_290_are_in_the_tail_of_its_own_counts() -> None:
    table = published_table()
    counts = [int(value) for value in table["laion400m"]]
    frequency: dict[str, int] = {}
    for name, times in zip(table["concept"], counts, strict=True):
        frequency[name] = min(times, frequency.get(name, times))
    # The paper's list has at most 435 matches a concept: with that threshold all is a candidate.
    tail = long_tail(frequency, 10_000, max_frequency=435)
    names = {name.replace("_", " ") for name in [*tail.concepts, *tail.same]}
    for name in ("A310", "Affenpinscher", "African rock python", "Bank Swallow", "An-12"):
        assert name in names
    assert 290 < len(tail.concepts) < len(frequency)
    assert tail.frequency.max() <= 435
    assert (np.diff(tail.frequency) >= 0).all()


def picture(seed: int, size: int = 64) -> Image.Image:
    rng = np.random.default_rng(seed)
    field = gaussian_filter(rng.normal(size=(size, size)), 6)
    field = 255 * (field - field.min()) / np.ptp(field)
    return Image.fromarray(field.astype(np.uint8))


def apart(a: Path, b: Path) -> int:
    return (perceptual_hash(a) ^ perceptual_hash(b)).bit_count()


def test_hashes_tell_copies_from_others(tmp_path: Path) -> None:
    files = []
    for seed in range(12):
        picture(seed).save(tmp_path / f"{seed}.png")
        picture(seed).convert("RGB").resize((90, 90)).save(tmp_path / f"{seed}.jpg", quality=60)
        files.append((tmp_path / f"{seed}.png", tmp_path / f"{seed}.jpg"))
    assert max(apart(*pair) for pair in files) <= 10
    others = [apart(files[i][0], files[j][0]) for i in range(12) for j in range(i)]
    assert min(others) > 10
    assert np.mean(others) == pytest.approx(32, abs=3)


def test_a_hash_is_half_ones_beside_the_mean(tmp_path: Path) -> None:
    # 63 frequencies, of which 31 lie above their median; the first bit is the mean's.
    for seed in range(5):
        picture(seed).save(tmp_path / "a.png")
        found = perceptual_hash(tmp_path / "a.png")
        assert (found & ((1 << 63) - 1)).bit_count() == 31
        assert found >> 63 == 1


def test_distinct_keeps_the_first_of_each_group() -> None:
    hashes = np.array([0b0, 0b1, 0b111, 0b0, 0b11111], dtype=np.uint64)
    assert list(distinct(hashes, 1)) == [0, 2, 4]
    assert list(distinct(hashes, 0)) == [0, 1, 2, 4]
    assert list(distinct(hashes, -1)) == [0, 1, 2, 3, 4]
    assert list(distinct(hashes[:0], 1)) == []


def test_the_set_is_balanced_and_without_copies(tmp_path: Path) -> None:
    tail = long_tail({"red fox": 0, "owl": 1, "bat": 2, "elk": 3}, 4, images_per_concept=5)
    for name, count in (("red_fox", 8), ("owl", 5), ("bat", 4)):
        (tmp_path / name).mkdir()
        for number in range(count):
            picture(number).save(tmp_path / name / f"{number}.png")
        picture(0).save(tmp_path / name / "copy.jpg", quality=70)
        (tmp_path / name / "notes.txt").write_text("no image")
    (tmp_path / "owl" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    found = balance_images(tmp_path, tail, rng=0)
    assert {name: len(files) for name, files in found.images.items()} == {"red fox": 5, "owl": 5}
    assert found.too_few == {"bat": 4, "elk": 0}
    assert found.duplicates == 3
    assert len(found.unreadable) == 1
    assert "broken.png" in found.unreadable[0]
    for files in found.images.values():
        assert len(set(files)) == 5
        assert all(Path(file).is_file() for file in files)
    assert balance_images(tmp_path, tail, rng=0) == found
    assert balance_images(tmp_path, tail, rng=1) != found
    assert balance_images(tmp_path, tail, bits=-1, rng=0).too_few == {"elk": 0}


def test_bad_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="count and images_per_concept must be >= 1, got 0"):
        long_tail({"a": 1}, 0)
    with pytest.raises(ValueError, match="no concept occurs 3 times or less; the rarest: 'a'"):
        long_tail({"a": 7}, 1, max_frequency=3)
    with pytest.raises(ValueError, match="frequencies must be >= 0, got -1 for 'a'"):
        long_tail({"a": -1}, 1)
    with pytest.raises(ValueError, match="'a' has a frequency and is not among the concepts"):
        long_tail({"a": 1}, 1, concepts=["b"])
    tail = long_tail({"a": 1}, 1)
    with pytest.raises(ValueError, match="is not a folder"):
        balance_images(tmp_path / "none", tail)
    with pytest.raises(ValueError, match=r"bits must be in \[-1, 63\], got 64"):
        balance_images(tmp_path, tail, bits=64)
