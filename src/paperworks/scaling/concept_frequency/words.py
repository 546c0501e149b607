"""Words of a caption and their lemmas.

A word is a run of letters and digits of any script, after NFKC and case folding. Underscores and
all other marks part words; an apostrophe inside one does not: a possessive ``'s`` is dropped, other
apostrophes vanish ("Baird's" gives ``baird``, "don't" gives ``dont``).

The authors lemmatise with spaCy and keep only what its tagger calls a noun. A tagger costs a
thousand times more than all the rest here, so a lemma is looked up word by word, whatever the part
of speech, on both sides in the same way.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Any

Lemmas = str | Callable[[str], str] | None
"""A language of simplemma ("en"), a function from word to lemma, or None for the bare words."""

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_POSSESSIVE = re.compile(r"['’]s$")
_APOSTROPHE = re.compile("['’]")
# The first that fits. What has no plural ending is its own singular.
_PLURALS = (
    ("ss", "ss"),
    ("us", "us"),
    ("is", "is"),
    ("ies", "y"),
    ("sses", "ss"),
    ("shes", "sh"),
    ("ches", "ch"),
    ("xes", "x"),
    ("zzes", "zz"),
    ("s", ""),
)


def words(text: str) -> list[str]:
    """The words of a text, case folded, in order.

    Examples
    --------
    >>> words("Two DOGS' beds, Baird's_Sparrow & a café-bar")
    ['two', 'dogs', 'beds', 'baird', 'sparrow', 'a', 'café', 'bar']
    """
    found = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    return [_APOSTROPHE.sub("", _POSSESSIVE.sub("", word)) for word in found]


def lemmatizer(lemmas: Lemmas) -> Callable[[str], str]:
    """A function from a case-folded word to its case-folded lemma.

    Raises
    ------
    ModuleNotFoundError
        Where a language is named and the extra is not installed.
    ValueError
        Where simplemma does not know the language.
    """
    if lemmas is None:
        return str
    if callable(lemmas):
        own = lemmas
        return lambda word: own(word).casefold()
    try:
        import simplemma
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "lemmas need the extra: pip install 'paperworks[concepts]' (or take lemmas=None)"
        ) from error
    try:
        simplemma.lemmatize("word", lang=lemmas)
    except ValueError as error:
        raise ValueError(
            f"lemmas must be a language that simplemma knows, as 'en', a function or None, got "
            f"{lemmas!r}"
        ) from error
    if lemmas == "en":
        return lambda word: _english(word, simplemma)
    return lambda word: simplemma.lemmatize(word, lang=lemmas).casefold()


def _english(word: str, simplemma: Any) -> str:
    """The lemma of simplemma, and a regular plural's singular where its word list has no such word.

    Rare names are what matters here, and word lists lack their plurals ("affenpinschers").
    """
    lemma = simplemma.lemmatize(word, lang="en").casefold()
    if lemma != word or len(word) < 4 or simplemma.is_known(word, lang="en"):
        return lemma
    for ending, singular in _PLURALS:
        if word.endswith(ending):
            return word[: len(word) - len(ending)] + singular
    return word


def describe(lemmas: Lemmas) -> str:
    """What stands for the lemmas where settings are compared."""
    if callable(lemmas):
        return f"{lemmas.__module__}.{lemmas.__qualname__}"
    if lemmas is None:
        return "none"
    import importlib.metadata

    # The rule for plurals is ours: another rule is another lemma.
    return f"plurals 1, simplemma {importlib.metadata.version('simplemma')} {lemmas}"
