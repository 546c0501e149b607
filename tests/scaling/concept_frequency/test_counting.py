from __future__ import annotations

import gzip
import json
import os
import random
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest_concepts import WRITERS, slow_counts, write_jsonl, write_parquet, write_tar

from paperworks.scaling.concept_frequency import batches, counting, jsonl, parts, tally
from paperworks.scaling.concept_frequency.batches import BrokenFileError
from paperworks.scaling.concept_frequency.counting import count_concepts
from paperworks.scaling.concept_frequency.counts import read_counts_table
from paperworks.scaling.concept_frequency.parts import corpus_files, parts_of

CONCEPTS = ["dog", "tree house", "red car", "fox", "café"]
BITS = ["dog", "dogs", "a", "tree", "house", "Red", "car", "CAFÉ", "the", "fox-", "tree house"]


def samples(count: int, seed: int = 0) -> list[tuple[str, Any]]:
    rng = random.Random(seed)
    made = []
    for _ in range(count):
        caption = " ".join(rng.choices(BITS, k=rng.randrange(7)))
        tags = rng.sample(["dog", "Tree house", "fox", "cat", "café"], rng.randrange(4))
        made.append((caption, tags))
    return made


def same(word: str) -> str:
    return word


def as_tuple(counts: Any) -> tuple[list[int], list[int], list[int], int]:
    return counts.text.tolist(), counts.image.tolist(), counts.both.tolist(), counts.misaligned


@pytest.mark.parametrize("match", ["words", "phrase"])
@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_slow_counts(tmp_path: Path, name: str, match: str) -> None:
    made = samples(300)
    file = WRITERS[name](tmp_path / name, made)
    counts = count_concepts(file, CONCEPTS, tags="tags", match=match, lemmas=None)
    assert as_tuple(counts) == slow_counts(made, CONCEPTS, match, same)
    assert counts.samples == counts.tagged == 300
    assert counts.empty == sum(caption == "" for caption, _ in made) > 0
    assert min(as_tuple(counts)[:3][2]) >= 0
    assert counts.both.sum() > 0
    assert counts.misaligned > 0
    assert (counts.bad, counts.broken) == ((), ())


def test_small_batches_and_parts_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = samples(400)
    files = [WRITERS[name](tmp_path / f"{i}{name}", made) for i, name in enumerate(WRITERS)]
    whole = count_concepts(files, CONCEPTS, tags="tags", lemmas=None)
    assert as_tuple(whole)[0] == [5 * n for n in slow_counts(made, CONCEPTS, "words", same)[0]]
    from paperworks.scaling.concept_frequency import parquet

    for module in (batches, parquet):
        monkeypatch.setattr(module, "ROWS", 9)
        monkeypatch.setattr(module, "TEXT", 100)
    monkeypatch.setattr(jsonl, "_BLOCK", 200)
    for size in (1, 50, 1000):  # bytes: parts that begin within lines, and parts within one line
        monkeypatch.setattr(parts, "BYTES_PER_PART", size)
        monkeypatch.setattr(parts, "ROWS_PER_PART", 20)
        if size == 1:
            file = write_jsonl(tmp_path / "tiny.jsonl", made[:12])
            tiny = count_concepts(file, CONCEPTS, tags="tags", lemmas=None)
            assert as_tuple(tiny) == slow_counts(made[:12], CONCEPTS, "words", same)
            continue
        again = count_concepts(files, CONCEPTS, tags="tags", lemmas=None)
        assert as_tuple(again) == as_tuple(whole)
        assert again.samples == 2000
        assert again.parts > whole.parts == 5


@pytest.mark.parametrize("end", [b"\n", b""])
@pytest.mark.parametrize("size", range(1, 40))
def test_parts_of_json_lines_hold_each_line_once(tmp_path: Path, size: int, end: bytes) -> None:
    file = tmp_path / "a.jsonl"
    lines = [b'{"caption":"%s"}' % (b"x" * n) for n in (0, 5, 1, 17, 0, 3)]
    file.write_bytes(b"\n".join(lines) + end)
    seen = []
    for part in parts_of(file, size=size):
        ledger = batches.Ledger()
        for batch in jsonl.read_jsonl(part, "caption", None, ledger):
            seen += np.diff(batch.offsets).tolist()
        assert ledger.bad == []
    assert seen == [0, 5, 1, 17, 0, 3]


BAD = [
    ('{"caption": "a dog"}', None),
    ("", None),
    ('{"caption": "a dog"', "not JSON"),
    ("[1]", "must be a JSON object, got list"),
    ('{"text": "a dog"}', "needs 'caption'"),
    ('{"caption": 3}', "'caption' must be a string, got 3"),
    ('{"caption": null}', None),
    ('{"caption": "a"}{"caption": "b"}', "not JSON"),
    ('{"caption": "dog", "tags": 7}', "tags must be a list"),
    ("[" * 100_000, "not JSON"),
    ('{"caption": "dog"}', None),
]


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_bad_lines_are_numbered_and_left_out(
    tmp_path: Path, name: str, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fast:
        pytest.importorskip("pyarrow")
    else:
        monkeypatch.setitem(sys.modules, "pyarrow", None)
    content = ("\n".join(line for line, _ in BAD) + "\n").encode() + b'{"caption": "\xff"}\n'
    file = tmp_path / name
    file.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    monkeypatch.setattr(parts, "BYTES_PER_PART", 60)
    counts = count_concepts(file, ["dog"], tags=None, lemmas=None)
    wrong = {i: why for i, (_, why) in enumerate(BAD, 1) if why and "tags" not in why}
    assert [bad.line for bad in counts.bad] == [*wrong, len(BAD) + 1]
    for bad in counts.bad[:-1]:
        assert wrong[bad.line] in bad.why
        assert str(bad).startswith(f"{file.resolve()}, line {bad.line}: ")
    assert counts.bad_total == len(wrong) + 1
    assert (counts.samples, counts.empty, counts.text.tolist()) == (4, 1, [3])


@pytest.mark.parametrize(
    ("content", "bad"),
    [
        ('{"caption": "dog"}\n{"text": "dog"}\n', [2]),  # pyarrow takes it for null
        ('{"caption": "dog"}{"caption": "dog"}\n', [1]),  # and this for two lines
        ('{"caption": "dog"}\n\n{"caption": null}\n', []),
        ('{"caption":\n "dog"}\n', [1, 2]),  # and this for one
    ],
)
def test_a_line_that_pyarrow_would_let_pass(tmp_path: Path, content: str, bad: list[int]) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(content)
    counts = count_concepts(file, ["dog"], lemmas=None)
    assert [each.line for each in counts.bad] == bad
    assert counts.samples == len([line for line in content.split("\n") if line]) - len(bad)
    assert counts.text.tolist() == [int(content.startswith('{"caption": "dog"}\n'))]


def test_bad_tags_leave_the_sample_out(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    rows = [["dog"], 7, None, ["dog"]]
    file.write_text("\n".join(json.dumps({"caption": "dog", "tags": tags}) for tags in rows))
    counts = count_concepts(file, ["dog"], tags="tags", lemmas=None)
    assert [(bad.line, bad.why) for bad in counts.bad] == [
        (2, "tags must be a list or an object, got 7")
    ]
    assert (counts.samples, counts.tagged) == (3, 2)
    assert as_tuple(counts) == ([3], [2], [2], 0)
    with pytest.raises(ValueError, match=r"a.jsonl, line 2: tags must be"):
        count_concepts(file, ["dog"], tags="tags", lemmas=None, strict=True)
    with pytest.raises(ValueError, match="no sample has 'label'"):
        count_concepts(file, ["dog"], tags="label", lemmas=None)


def test_tags_with_scores_are_held_to_the_threshold(tmp_path: Path) -> None:
    made = [("dog", {"dog": 0.8}), ("dog", {"dog": 0.6}), ("dog", [["dog", 0.75]])]
    file = write_jsonl(tmp_path / "a.jsonl", made)
    for threshold, found in ((0.7, 2), (0.5, 3), (0.78, 1)):
        counts = count_concepts(file, ["dog"], tags="tags", tag_threshold=threshold, lemmas=None)
        assert counts.image.tolist() == [found]


def test_bad_samples_of_archives_are_named(tmp_path: Path) -> None:
    import io

    file = tmp_path / "a.tar"
    with tarfile.open(file, "w") as archive:
        for name, content in (
            ("000.txt", b"dog"),
            ("001.jpg", b"x"),
            ("002.txt", b"\xff"),
            ("003.json", b"{"),
            ("004.json", b'{"caption": "a dog"}'),
            ("README", b"no sample"),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    counts = count_concepts(file, ["dog"], lemmas=None)
    assert counts.text.tolist() == [2]
    assert [(bad.line, bad.why.split(" (")[0]) for bad in counts.bad] == [
        (2, "001: has neither .txt nor .json"),
        (3, "002: its .txt is not UTF-8"),
        (4, "003: its .json is not JSON"),
    ]


def test_archives_take_the_caption_from_json_where_there_is_no_text(tmp_path: Path) -> None:
    made = samples(50)
    file = write_tar(tmp_path / "a.tar", made, text=False)
    counts = count_concepts(file, CONCEPTS, tags="tags", lemmas=None)
    assert as_tuple(counts) == slow_counts(made, CONCEPTS, "words", same)


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.parquet", "a.tar", "a.tar.gz"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.97])
def test_a_truncated_file_is_named_and_left_out(tmp_path: Path, name: str, share: float) -> None:
    made = samples(200)
    whole = write_jsonl(tmp_path / "whole.jsonl", made)
    file = WRITERS[name](tmp_path / name, made)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    counts = count_concepts([file, whole], CONCEPTS, lemmas=None)
    assert len(counts.broken) == 1
    assert counts.broken[0].startswith(str(file.resolve()))
    assert counts.text.tolist() == slow_counts(made, CONCEPTS, "words", same)[0]
    with pytest.raises(BrokenFileError, match=name):
        count_concepts([whole, file], CONCEPTS, lemmas=None, strict=True)


def test_an_archive_with_a_damaged_header_is_not_taken_for_its_end(tmp_path: Path) -> None:
    file = write_tar(tmp_path / "a.tar", samples(30))
    content = bytearray(file.read_bytes())
    at = content.index(b"shard/000020.jpg")
    content[at : at + 4] = b"xxxx"  # the header's checksum no longer fits
    file.write_bytes(content)
    assert "end mark" in count_concepts(file, CONCEPTS, lemmas=None).broken[0]


def test_what_is_no_parquet_is_said_so(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    file = tmp_path / "a.parquet"
    file.write_bytes(b"")
    assert "cannot be read as parquet" in count_concepts(file, ["dog"], lemmas=None).broken[0]
    write_parquet(file, samples(3))
    with pytest.raises(ValueError, match="no column 'text'; its columns are caption, tags"):
        count_concepts(file, ["dog"], caption="text", lemmas=None)
    with pytest.raises(ValueError, match="column 'tags' must hold text, got list"):
        count_concepts(file, ["dog"], caption="tags", lemmas=None)


def test_a_null_caption_is_empty(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    file = tmp_path / "a.parquet"
    column = pyarrow.array(["dog", None, "", "dog"]).dictionary_encode()
    parquet.write_table(pyarrow.table({"caption": column}), file)
    counts = count_concepts(file, ["dog"], lemmas=None)
    assert (counts.samples, counts.empty, counts.text.tolist()) == (4, 2, [2])


def test_an_interrupted_count_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = samples(300)
    files = [write_jsonl(tmp_path / f"{i}.jsonl", made[i::3]) for i in range(3)]
    out = tmp_path / "out"
    real, calls = counting.save_tally, []

    def stop_at_third(path: Path, found: Any) -> None:
        calls.append(path)
        if len(calls) == 3:
            raise KeyboardInterrupt
        real(path, found)

    monkeypatch.setattr(counting, "save_tally", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        count_concepts(files, CONCEPTS, tags="tags", lemmas=None, out=out)
    monkeypatch.setattr(counting, "save_tally", real)
    seen: list[tuple[int, int, int]] = []
    counts = count_concepts(
        files, CONCEPTS, tags="tags", lemmas=None, out=out, progress=lambda *a: seen.append(a)
    )
    assert (counts.parts, counts.resumed) == (3, 2)
    assert seen == [(2, 3, 200), (3, 3, 300)]
    expected = slow_counts(made, CONCEPTS, "words", same)
    assert as_tuple(counts) == expected
    again = count_concepts(files, CONCEPTS, tags="tags", lemmas=None, out=out)
    assert again.resumed == 3
    assert as_tuple(again) == expected

    # Other settings, and a file that has changed, are counted anew.
    assert count_concepts(files, CONCEPTS, lemmas=None, out=out).resumed == 0
    assert count_concepts(files, CONCEPTS[:4], tags="tags", lemmas=None, out=out).resumed == 0
    write_jsonl(files[0], made)
    os.utime(files[0], ns=(1, 1))
    changed = count_concepts(files, CONCEPTS, tags="tags", lemmas=None, out=out)
    assert changed.resumed == 2
    assert changed.samples == 500


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "gone"])
def test_a_damaged_state_is_counted_again(tmp_path: Path, damage: str) -> None:
    made = samples(50)
    file = write_jsonl(tmp_path / "a.jsonl", made)
    out = tmp_path / "out"
    first = count_concepts(file, CONCEPTS, lemmas=None, out=out)
    (state,) = (out / "parts").iterdir()
    content = bytearray(state.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    elif damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "empty":
        content = bytearray()
    state.write_bytes(content)
    if damage == "gone":
        state.unlink()
    again = count_concepts(file, CONCEPTS, lemmas=None, out=out)
    assert again.resumed == 0
    assert as_tuple(again) == as_tuple(first)
    assert count_concepts(file, CONCEPTS, lemmas=None, out=out).resumed == 1


def test_a_state_comes_back_as_it_went(tmp_path: Path) -> None:
    one = tally.blank(2, broken="x")
    one.bad, one.samples = ((3, "why"),), 7
    one.hit_numbers = np.array([1, 2])
    tally.save_tally(tmp_path / "a.state", one)
    back = tally.load_tally(tmp_path / "a.state")
    assert back is not None
    assert (back.bad, back.samples, back.broken) == (((3, "why"),), 7, "x")
    assert back.hit_numbers is not None
    assert back.hit_numbers.tolist() == [1, 2]
    assert back.hit_concepts is None


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet", "a.tar"])
def test_samples_that_were_kept_can_be_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    from paperworks.scaling.concept_frequency import parquet

    made = samples(120)
    monkeypatch.setattr(parts, "BYTES_PER_PART", 700)
    monkeypatch.setattr(parts, "ROWS_PER_PART", 20)
    for module in (batches, parquet):
        monkeypatch.setattr(module, "ROWS", 4)
    file = WRITERS[name](tmp_path / name, made)
    counts = count_concepts(
        file, CONCEPTS, tags="tags", lemmas=None, out=tmp_path / "out", keep_samples=True
    )
    assert (counts.parts > 5) == (name != "a.tar")
    for place in ("text", "image", "both"):
        for number, concept in enumerate(CONCEPTS):
            lines = list(counts.samples_of(concept, place))
            assert all(path == str(file.resolve()) for path, _ in lines)
            expected = []
            for line, sample in enumerate(made, start=1):
                text, image, both, _ = slow_counts([sample], [concept], "words", same)
                if {"text": text, "image": image, "both": both}[place] == [1]:
                    expected.append(line)
            assert [line for _, line in lines] == expected
            assert len(lines) == counts.frequency(place)[number]
    with pytest.raises(ValueError, match="'cow' is not among the 5 concepts"):
        counts.samples_of("cow")
    with pytest.raises(ValueError, match="the samples were not kept"):
        count_concepts(file, CONCEPTS, lemmas=None).samples_of("dog")


def test_processes_give_the_same(tmp_path: Path) -> None:
    made = samples(200)
    files = [write_jsonl(tmp_path / f"{i}.jsonl", made[i::4]) for i in range(4)]
    counts = count_concepts(files, CONCEPTS, tags="tags", lemmas=None, n_jobs=2)
    assert as_tuple(counts) == slow_counts(made, CONCEPTS, "words", same)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ray_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    made = samples(200)
    files = [write_jsonl(tmp_path / f"{i}.jsonl", made[i::4]) for i in range(4)]
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        counts = count_concepts(
            files, CONCEPTS, tags="tags", lemmas=None, n_jobs=2, backend="ray", out=tmp_path / "o"
        )
    finally:
        ray.shutdown()
    assert as_tuple(counts) == slow_counts(made, CONCEPTS, "words", same)
    assert (
        count_concepts(files, CONCEPTS, tags="tags", lemmas=None, out=tmp_path / "o").resumed == 4
    )


def test_a_folder_is_all_its_files(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_jsonl(tmp_path / "in" / "b.jsonl", samples(3))
    write_jsonl(tmp_path / "a.jsonl", samples(3))
    (tmp_path / "notes.md").write_text("no corpus")
    names = [path.name for path in corpus_files([tmp_path, tmp_path / "a.jsonl"])]
    assert names == ["a.jsonl", "b.jsonl"]
    with pytest.raises(ValueError, match="is not there"):
        corpus_files(tmp_path / "c.jsonl")
    with pytest.raises(ValueError, match=r"notes.md must end in one of .parquet"):
        corpus_files(tmp_path / "notes.md")
    with pytest.raises(ValueError, match="the corpus names no file"):
        corpus_files([])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no file that ends in"):
        corpus_files(tmp_path / "empty")


def test_bad_arguments_are_named(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "a.jsonl", samples(2))
    with pytest.raises(ValueError, match="backend must be one of loky, ray, got 'dask'"):
        count_concepts(file, ["dog"], backend="dask")
    with pytest.raises(ValueError, match="n_jobs must be >= 1, or -1 for one per core, got 0"):
        count_concepts(file, ["dog"], n_jobs=0)
    with pytest.raises(ValueError, match="keep_samples=True needs out"):
        count_concepts(file, ["dog"], keep_samples=True)
    with pytest.raises(ValueError, match="place must be one of text, image, both, got 'tags'"):
        count_concepts(file, ["dog"], lemmas=None).frequency("tags")


def test_a_missing_extra_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.parquet"
    file.write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'paperworks\[concepts\]'"):
        count_concepts(file, ["dog"], lemmas=None)


def test_counts_can_be_saved_and_read(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "a.jsonl", samples(40))
    counts = count_concepts(file, [*CONCEPTS, 'a "quoted", one'], tags="tags", lemmas=None)
    counts.save(tmp_path / "counts.csv")
    table = read_counts_table(tmp_path / "counts.csv")
    for place in ("text", "image", "both"):
        assert list(table[place]) == list(counts.names)
        assert list(table[place].values()) == counts.frequency(place).tolist()
    other = tmp_path / "other.csv"
    for content, why in (
        ("name,text\n", "needs the columns concept and text, image or both, got name, text"),
        ("", "got none"),
        ("concept,text\ndog,1\ndog,2\n", "line 3: 'dog' is there already"),
        ("concept,text\ndog,-1\n", "line 2: text must be a whole number >= 0, got '-1'"),
        ("concept,text\ndog\n", "line 2: text must be a whole number >= 0, got None"),
    ):
        other.write_text(content)
        with pytest.raises(ValueError, match=why):
            read_counts_table(other)
