"""The catalogue: one record per paper, found by id, by family or by words.

The records stand in ``catalog.toml`` beside this file. A paper's status is not among them: it is
worked out from what the installed package holds, so that it cannot go stale.

- `ready`: the method and its claim exist;
- `method`: the method exists, no claim yet;
- `planned`: there is nothing yet that a user can import.

The method exists when the record names public names and the package of each has it: the name is
imported or defined at the top level of that package's ``__init__.py``, or listed in its
``__all__``. The file is parsed and not imported, since a family may load torch. The claim exists
when there is a module ``paperworks/claims/<id, with _ for ->.py``.

Importing this module loads nothing heavy; the BM25 library is imported by the first search.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).parent

STATUSES = ("ready", "method", "planned")


class UnknownPaperError(LookupError):
    """There is no paper of the id asked for."""


@dataclass(frozen=True)
class Paper:
    """One record of the catalogue.

    Parameters
    ----------
    id : str
        The paper's name everywhere in the project: lower-case words joined by hyphens.
    title : str
        As the authors print it.
    arxiv : str
        The arXiv number, such as ``"2310.05898"``.
    year : int
        Of the first arXiv version.
    family : str
        The package that the method belongs to.
    summary, claim : str
        What the method does and is for; what the paper says of it.
    tags : tuple of str
        Terms of the field.
    code : str or None
        The authors' repository on GitHub, ``"owner/name"``.
    public : tuple of str
        Full names of what a user imports, ``"paperworks.training.LionK"``.
    """

    id: str
    title: str
    arxiv: str
    year: int
    family: str
    summary: str
    claim: str
    tags: tuple[str, ...]
    code: str | None = None
    public: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """The paper's page on arXiv."""
        return f"https://arxiv.org/abs/{self.arxiv}"

    @property
    def status(self) -> str:
        """`ready`, `method` or `planned`, from what the installed package holds."""
        return status(self)


@dataclass(frozen=True)
class Hit:
    """A paper found by a search, and how well it matches: its BM25 score, larger is better."""

    paper: Paper
    score: float


@cache
def load() -> tuple[Paper, ...]:
    """All papers, in the catalogue's order.

    Raises
    ------
    ValueError
        Where a record is wrong; the message names the record.

    Examples
    --------
    >>> len(load())
    63
    """
    return _read(_PACKAGE / "catalog.toml")


def get(id: str) -> Paper:
    """The paper called ``id``.

    Raises
    ------
    UnknownPaperError
        Where there is none; the message gives the ids that come close.

    Examples
    --------
    >>> get("lion-k").url
    'https://arxiv.org/abs/2310.05898'
    """
    papers = {paper.id: paper for paper in load()}
    if id in papers:
        return papers[id]
    near = _close(id.lower().replace("_", "-"), tuple(papers))
    hint = f"did you mean {' or '.join(near)}?" if near else "`paperworks list` shows all ids"
    raise UnknownPaperError(f"there is no paper {id!r}; {hint}")


def families() -> tuple[str, ...]:
    """The families that the papers belong to, sorted."""
    return tuple(sorted({paper.family for paper in load()}))


def select(family: str | None = None, status: str | None = None) -> tuple[Paper, ...]:
    """The papers of one family, of one status, or of both; all where neither is given.

    Raises
    ------
    ValueError
        For a family or a status that does not exist; the message lists those that do.

    Examples
    --------
    >>> [paper.id for paper in select(family="graphs")]
    ['log-proximity', 'powerwalk']
    """
    for name, value, valid in (("family", family, families()), ("status", status, STATUSES)):
        if value is not None and value not in valid:
            raise ValueError(f"there is no {name} {value!r}; choose from {', '.join(valid)}")
    return tuple(
        paper
        for paper in load()
        if (family is None or paper.family == family) and (status is None or paper.status == status)
    )


def status(paper: Paper) -> str:
    """`ready`, `method` or `planned`, by the rule of the module's docstring.

    Reads a few small files and imports nothing.
    """
    if not paper.public or not all(_defined(name) for name in paper.public):
        return "planned"
    claim = _PACKAGE / "claims" / f"{paper.id.replace('-', '_')}.py"
    return "ready" if claim.is_file() else "method"


def search(query: str, limit: int = 10) -> list[Hit]:
    """Papers that match the words of ``query``, best first.

    BM25 over id, title, tags, summary and claim, the first three counted several times. Words
    are compared without regard to case and to common endings, so that "pruned" finds "pruning".

    Parameters
    ----------
    query : str
        Words, in any order. A paper need not hold all of them.
    limit : int
        The largest number of hits to return.

    Returns
    -------
    list of Hit
        Empty where no word of the query occurs in any record.

    Raises
    ------
    ValueError
        For a query without a word to look for, or ``limit`` below 1.

    Examples
    --------
    >>> search("outlier activations", limit=1)[0].paper.id
    'llm-fp4'
    """
    if limit < 1:
        raise ValueError(f"limit must be >= 1, got {limit}")
    [words] = _tokens([query])
    if not words:
        raise ValueError(f"nothing to search for in {query!r}; give a word or two of the subject")
    scores = _index().get_scores(words)
    hits = [
        Hit(paper, float(score)) for paper, score in zip(load(), scores, strict=True) if score > 0
    ]
    return sorted(hits, key=lambda hit: -hit.score)[:limit]


# Searching

# Repetition is BM25's usual way to weigh fields: its length normalization sees one text.
_WEIGHTS = {"id": 2, "title": 3, "tags": 3, "summary": 1, "claim": 1}

_ENDINGS = (
    *("izations", "ization", "izers", "izer", "izing", "ized", "izes", "ize"),
    *("isations", "isation", "isers", "iser", "ising", "ised", "ises", "ise"),
    *("ations", "ation", "ators", "ator", "ating", "ated", "ates", "ate"),
    *("ings", "ing", "ers", "er", "ed", "ies", "es", "s", "e", "y"),
)


def _tokens(texts: list[str]) -> list[list[str]]:
    """The words of each text without the stop words, each cut down to its stem."""
    import bm25s

    return bm25s.tokenize(
        texts,
        token_pattern=r"[^\W_]+",
        stopwords="english_plus",
        stemmer=lambda words: [_stem(word) for word in words],
        return_ids=False,
        show_progress=False,
    )


def _stem(word: str) -> str:
    """``word`` without its ending: crude, but the same for the forms of one word."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    doubled = len(word) > 3 and word[-1] == word[-2]  # distill, distil; class, classes
    return word[:-1] if doubled else word


@cache
def _index() -> Any:
    import bm25s

    texts = []
    for paper in load():
        parts = {name: getattr(paper, name) for name in _WEIGHTS} | {"tags": " ".join(paper.tags)}
        texts.append(" ".join(f"{parts[name]} " * n for name, n in _WEIGHTS.items()))
    index = bm25s.BM25()
    index.index(_tokens(texts), show_progress=False)
    return index


# What exists


def _defined(name: str) -> bool:
    """Whether the package or module of the public ``name`` has it."""
    _, *path, attribute = name.split(".")
    home = _PACKAGE.joinpath(*path)
    file = home / "__init__.py" if home.is_dir() else home.with_suffix(".py")
    return file.is_file() and attribute in _top_level_names(file)


def _top_level_names(file: Path) -> set[str]:
    """What ``file`` imports or defines at its top level, or puts in ``__all__``."""
    import ast

    names: set[str] = set()
    for node in ast.parse(file.read_bytes(), str(file)).body:
        match node:
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                names.update(alias.asname or alias.name for alias in aliases)
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Assign(targets=[ast.Name(id="__all__")], value=ast.List() | ast.Tuple()):
                # The only place that names what a family loads lazily, through __getattr__.
                names.update(ast.literal_eval(node.value))
    return names


# Reading the records

_KINDS: dict[str, type] = {"year": int, "tags": list, "public": list}  # all else is text
_FORMS = {
    "id": (r"[a-z0-9]+(-[a-z0-9]+)*", "lower-case words joined by hyphens"),
    "arxiv": (r"\d{4}\.\d{4,5}", "an arXiv number such as 2310.05898"),
    "family": (r"[a-z]+", "the name of a package"),
    "code": (r"[\w.-]+/[\w.-]+", "a GitHub repository as owner/name"),
    "public": (r"paperworks(\.\w+){2,}", "a full name such as paperworks.training.LionK"),
}


def _read(file: Path) -> tuple[Paper, ...]:
    """The records of a catalogue ``file``, checked."""
    with file.open("rb") as stream:
        records = tomllib.load(stream).get("paper", [])
    papers: dict[str, Paper] = {}
    for position, record in enumerate(records, start=1):
        where = f"{file.name}, record {record.get('id', position)!r}"
        problem = next(_problems(record), None)
        if problem:
            raise ValueError(f"{where}: {problem}")
        paper = Paper(**{key: _plain(value) for key, value in record.items()})
        if paper.id in papers:
            raise ValueError(f"{where}: a second record has this id")
        papers[paper.id] = paper
    return tuple(papers.values())


def _plain(value: Any) -> Any:
    """Texts with their line breaks undone, lists as tuples."""
    if isinstance(value, str):
        return " ".join(value.split())
    return tuple(value) if isinstance(value, list) else value


def _problems(record: dict[str, Any]) -> Iterator[str]:
    """What is wrong with a record, in words; each check relies on those before it."""
    known = {field.name: field for field in fields(Paper)}
    for key in record:
        if key not in known:
            near = _close(key, tuple(known))
            yield f"unknown key {key!r}" + (f"; did you mean {near[0]}?" if near else "")
    for key, field in known.items():
        if key not in record and field.default is MISSING:
            yield f"the key {key!r} is missing"
    for key, value in record.items():
        kind = _KINDS.get(key, str)
        if type(value) is not kind:
            yield f"{key} must be of type {kind.__name__}, got {value!r}"
        items = value if kind is list else [str(value)]
        if not items or not all(isinstance(item, str) and item.strip() for item in items):
            yield f"{key} must hold text and not be empty, got {value!r}"
        form, words = _FORMS.get(key, (".*", ""))
        for item in items:
            if not re.fullmatch(form, item, re.DOTALL):
                yield f"{key} must be {words}, got {item!r}"
    if record["year"] != 2000 + int(record["arxiv"][:2]):
        yield f"year {record['year']} does not agree with the arXiv number {record['arxiv']}"


def _close(word: str, choices: tuple[str, ...]) -> list[str]:
    """Up to three of ``choices`` that hold ``word`` or are spelt nearly like it."""
    import difflib

    holding = [choice for choice in choices if len(word) > 2 and word in choice]
    near = difflib.get_close_matches(word, choices)
    return list(dict.fromkeys(holding + near))[:3]
