from __future__ import annotations

import numpy as np
import pytest
from conftest_concepts import slow_has, slow_words
from hypothesis import given, settings
from hypothesis import strategies as st

from paperworks.scaling.concept_frequency import matcher
from paperworks.scaling.concept_frequency.concepts import Concepts, as_concepts, read_concepts
from paperworks.scaling.concept_frequency.counting import count_captions
from paperworks.scaling.concept_frequency.matcher import Matcher, accepted_tags, pack
from paperworks.scaling.concept_frequency.words import describe, lemmatizer, words

# Few words, so that they meet; marks, cases and scripts, so that their borders are tried.
WORD = st.sampled_from(
    ["dog", "Dogs", "DOG'S", "tree", "Tree's", "house", "café", "CAFE\u0301", "straße", "STRASSE",
     "ж", "Ж", "犬", "a310", "310", "don’t", "dont", "½", "'", "ﬁsh", "fish", "İ", "e\u0301"]
)  # fmt: skip
JOIN = st.sampled_from([" ", "-", "_", ", ", "\u00a0", "“", "…", "\n", "\x00", "😀", "' "])
CAPTION = st.lists(st.tuples(WORD, JOIN), max_size=12).map(lambda ps: "".join(a + b for a, b in ps))
CONCEPT = st.lists(WORD.filter(lambda w: bool(words(w))), min_size=1, max_size=3).map(" ".join)


def hits(found: tuple) -> set[tuple[int, int]]:
    pairs = list(zip(*(array.tolist() for array in found), strict=True))
    assert len(pairs) == len(set(pairs))
    assert [row for row, _ in pairs] == sorted(row for row, _ in pairs)
    return set(pairs)


@given(st.text(max_size=40) | CAPTION)
def test_words_are_runs_of_letters_and_digits(text: str) -> None:
    assert words(text) == slow_words(text)


@pytest.mark.parametrize("match", ["words", "phrase"])
@settings(deadline=None)  # the first call compiles
@given(captions=st.lists(CAPTION, max_size=8), concepts=st.sets(CONCEPT, min_size=1, max_size=6))
def test_matches_are_those_of_a_slow_search(
    match: str, captions: list[str], concepts: set[str]
) -> None:
    names = sorted(concepts)
    lemma = lemmatizer(lambda word: word.removesuffix("s"))
    found = Matcher(as_concepts(names), match=match, lemmas=lambda w: w.removesuffix("s"))
    expected = {
        (row, number)
        for row, caption in enumerate(captions)
        for number, name in enumerate(names)
        if slow_has(caption, name, match, lemma)
    }
    # The second time all words are known, and the clock has gone on.
    assert hits(found.find(*pack(captions))) == expected
    assert hits(found.find(*pack(captions))) == expected
    # Caption by caption, so that new words come when others are known.
    single = Matcher(as_concepts(names), match=match, lemmas=lambda w: w.removesuffix("s"))
    for row, caption in enumerate(captions):
        one = {(row, number) for _, number in hits(single.find(*pack([caption])))}
        assert one == {pair for pair in expected if pair[0] == row}


@pytest.mark.parametrize("match", ["words", "phrase"])
def test_many_words_and_concepts_agree_with_sets(match: str) -> None:
    rng = np.random.default_rng(0)
    names = [f"w{i}" for i in range(3000)]
    chosen = {
        " ".join(names[i] for i in rng.integers(0, 60, rng.integers(1, 4))) for _ in range(400)
    }
    concepts = sorted(chosen)
    captions = [
        " ".join(names[int(i)] for i in np.minimum(rng.zipf(1.3, rng.integers(1, 20)), 2999))
        for _ in range(2000)
    ]
    found = hits(Matcher(as_concepts(concepts), match=match, lemmas=None).find(*pack(captions)))
    expected = set()
    for row, caption in enumerate(captions):
        line = caption.split()
        for number, concept in enumerate(concepts):
            if match == "words":
                there = set(concept.split()) <= set(line)
            else:
                there = f" {concept} " in f" {caption} "
            if there:
                expected.add((row, number))
    assert found == expected
    assert len(found) > 2000


def test_the_table_grows_and_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    captions = [f"word{i} dog{i % 7}" for i in range(30_000)]
    concepts = as_concepts(["dog3", "word29999", "word5 dog5"])
    one = Matcher(concepts, lemmas=None)
    expected = hits(one.find(*pack(captions)))
    assert one._table[4][0] == 30_007
    assert (29_999, 1) in expected
    assert (5, 2) in expected
    monkeypatch.setattr(matcher, "_WORDS_KEPT", 100)
    assert hits(one.find(*pack(captions))) == expected
    assert one._seq_start.size == 30_008  # all was learnt again, none of it twice


def test_lemmas_of_concepts_and_captions_meet() -> None:
    pytest.importorskip("simplemma")
    counts = count_captions(
        ["two wolves", "Tree-frogs!", "a frog in a tree", "wolfish"], ["wolf", "tree frogs"]
    )
    assert counts.text.tolist() == [1, 2]
    phrase = count_captions(["tree frogs", "frogs, trees"], ["tree frog"], match="phrase")
    assert phrase.text.tolist() == [1]
    bare = count_captions(["two wolves", "wolf"], ["wolf"], lemmas=None)
    assert bare.text.tolist() == [1]


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("affenpinscher", "affenpinschers"),
        ("a310", "a310s"),
        ("cockapoo", "cockapoos"),
        ("zorgy", "zorgies"),
        ("zorgch", "zorgches"),
        ("zorgx", "zorgxes"),
        ("wolf", "wolves"),
        ("goose", "geese"),
        ("bus", "buses"),
    ],
)
def test_plurals_meet_their_singular(one: str, many: str) -> None:
    pytest.importorskip("simplemma")
    lemma = lemmatizer("en")
    assert lemma(one) == lemma(many) == one


def test_what_is_no_plural_stays() -> None:
    pytest.importorskip("simplemma")
    lemma = lemmatizer("en")
    for word in ("lens", "zorgus", "zorgis", "zorgss", "gas", "xs"):
        assert lemma(word) == word


def test_synonyms_count_once() -> None:
    counts = count_captions(
        ["dog and puppy", "puppies", "puppy"], {"dog": ["puppy"], "cat": []}, lemmas=None
    )
    assert counts.text.tolist() == [2, 0]


def test_a_concept_of_one_word_twice_needs_it_twice_only_as_a_phrase() -> None:
    captions = ["new york", "New York, New York"]
    assert count_captions(captions, ["new york new york"], lemmas=None).text.tolist() == [2]
    found = count_captions(captions, ["new york new york"], lemmas=None, match="phrase")
    assert found.text.tolist() == [1]


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (None, []),
        ([], []),
        (["a", "b"], ["a", "b"]),
        ({"a": 0.7, "b": 0.69}, ["a"]),
        ([{"tag": "a", "score": 0.9}, {"tag": "b", "score": 0.1}], ["a"]),
        ([["a", 0.9], ("b", 0.1), "c"], ["a", "c"]),
    ],
)
def test_tags_come_in_several_shapes(value: object, kept: list[str]) -> None:
    assert accepted_tags(value, 0.7) == kept


@pytest.mark.parametrize("value", ["dog", 3, [3], [["a", "b"]], [{"tag": "a"}], {"a": True}])
def test_other_tags_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="tag"):
        accepted_tags(value, 0.7)


def test_bad_concepts_are_named(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="'dog' is named twice"):
        as_concepts(["dog", "cat", "dog"])
    with pytest.raises(ValueError, match=r"'!!' holds no letter or digit in '!!'"):
        as_concepts(["!!"])
    with pytest.raises(ValueError, match="at least one concept"):
        as_concepts([])
    with pytest.raises(ValueError, match="must be a string, got 3"):
        as_concepts([3])  # type: ignore[list-item]
    file = tmp_path / "concepts.txt"
    file.write_text("dog\n\n# cats\ncat\tkitten\ndog\n")
    with pytest.raises(ValueError, match="line 5: 'dog' was named on line 1"):
        read_concepts(file)
    file.write_text("dog\ncat\t--\n")
    with pytest.raises(ValueError, match="line 2: '--' holds no letter or digit"):
        read_concepts(file)
    file.write_text("# none\n")
    with pytest.raises(ValueError, match="names no concept"):
        read_concepts(file)
    file.write_bytes(b"caf\xe9\n")
    with pytest.raises(ValueError, match="is not UTF-8"):
        read_concepts(file)


def test_bad_settings_are_named() -> None:
    concepts = Concepts(("dog",), (("dog",),))
    with pytest.raises(ValueError, match="match must be one of words, phrase, got 'exact'"):
        Matcher(concepts, match="exact")
    pytest.importorskip("simplemma")
    with pytest.raises(ValueError, match="must be a language that simplemma knows"):
        Matcher(concepts, lemmas="klingon")
    with pytest.raises(ValueError, match="tags must be given for all 1 captions, got 2"):
        count_captions(["dog"], ["dog"], tags=[[], []])
    with pytest.raises(ValueError, match="tags of caption 0: tags must be a list"):
        count_captions(["dog"], ["dog"], tags=["dog"])


def test_lemmas_are_part_of_what_is_compared() -> None:
    assert describe(None) == "none"
    assert describe(slow_words) == "conftest_concepts.slow_words"
    assert describe("en") != describe("de")


def test_a_missing_extra_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "simplemma", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'paperworks\[concepts\]'"):
        lemmatizer("en")
