"""The catalogue against the list of papers, a made-up package tree and a table of searches."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paperworks import catalog

# The list that the project implements: id, family, arXiv number. Not read from the catalogue.
PAPERS = """
llm-fp4 compression 2310.16836
arm-net nn 2107.01830
autonumerics-zero search 2312.08472
adaptive-data-analysis statistics 1411.2664
nupes compression 2308.05600
lie-decompositions equivariant 2310.11366
quantile-aggregation statistics 2103.00083
ponita equivariant 2310.02970
tangle-nas search 2312.10440
generalization-difficulty scaling 2305.01034
rich-lazy-connectivity theory 2310.08513
sinkhorn-newton-sparse numerics 2401.12253
weight-matching adaptation 2402.04051
lion-k training 2310.05898
scale-mixture-nngp theory 2107.01408
self-distillation theory 2102.13088
barron-pde numerics 2210.12101
mixture-growth adaptation 2311.04251
dependency-hypernetworks adaptation 2209.07712
presto statistics 2305.18700
jacobian-homeostasis training 2309.02214
oscillation-free-quantization compression 2302.02210
nmt-scaling-laws scaling 2109.07740
usf diffusion 2312.07243
scaling-law-estimation scaling 2403.06563
learning-curves scaling 1712.00409
gaunt-tensor-product equivariant 2401.10216
variational-continual-learning adaptation 2212.02846
evonorm search 2004.02967
kat nn 2409.10594
neural-tangent-kernel theory 1806.07572
exssnet adaptation 2210.10209
f-distill diffusion 2502.15681
gblm-pruner compression 2311.04902
repeated-sampling scaling 2407.21787
concept-frequency scaling 2404.04125
ges splatting 2402.10128
singular-kernel-classifiers theory 2204.14126
pac-code-sets statistics 2302.08703
log-proximity graphs 1605.01046
deis diffusion 2204.13902
bone adaptation 2409.15371
unsupervised-pretraining statistics 2303.01566
weight-compander nn 2306.16993
snnk nn 2310.13225
linf-regression numerics 2302.00248
powerwalk graphs 1608.06054
data-pruning scaling 2206.14486
gp-hm numerics 2311.04465
equiangular-basis-vectors nn 2303.11637
hierarchical-polynomials theory 2311.13774
large-batch training 1705.08741
doubly-robust-adversarial training 2308.00311
global-magnitude-pruning compression 2209.14624
mip-hypernetworks adaptation 2304.07645
optimistic-mirror-descent training 2302.04552
functional-hashing search 2302.05433
adasketch-newton numerics 2305.18379
eq-net compression 2308.07650
normalized-logistic-gd training 2412.08424
bandlimited-random-weights theory 2008.08427
ef21-w training 2402.10774
bengali-text text 2004.07807
"""
ROWS = [tuple(line.split()) for line in PAPERS.split("\n") if line]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An empty package tree in place of the installed one; write a catalogue and files into it."""
    monkeypatch.setattr(catalog, "_PACKAGE", tmp_path)
    catalog.load.cache_clear()
    catalog._index.cache_clear()
    yield tmp_path
    catalog.load.cache_clear()
    catalog._index.cache_clear()


def record(**changes):
    """A good record as TOML, with some values changed; None leaves a key out."""
    values = {
        "id": "some-method",
        "title": "Some Method",
        "arxiv": "2401.00001",
        "year": 2024,
        "family": "numerics",
        "summary": "It does something.",
        "claim": "It is better.",
        "tags": ["one", "two"],
    } | changes
    lines = [f"{key} = {value!r}" for key, value in values.items() if value is not None]
    return "\n".join(["[[paper]]", *lines, ""])


def write(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


# The records


def test_all_papers_are_there_in_the_order_of_the_list():
    assert len(ROWS) == 63
    assert [(paper.id, paper.family, paper.arxiv) for paper in catalog.load()] == ROWS


@pytest.mark.parametrize("paper", catalog.load(), ids=lambda paper: paper.id)
def test_record_is_complete(paper):
    assert re.fullmatch(r"\d{4}\.\d{4,5}", paper.arxiv)
    assert paper.year == 2000 + int(paper.arxiv[:2])
    assert 1 <= int(paper.arxiv[2:4]) <= 12
    # arXiv numbers have five digits since 2015.
    assert len(paper.arxiv) == (10 if paper.year >= 2015 else 9)
    assert paper.url == f"https://arxiv.org/abs/{paper.arxiv}"
    assert 2 <= len(re.findall(r"[.?](?= |$)", paper.summary)) <= 3
    assert len(re.findall(r"[.?](?= |$)", paper.claim)) == 1
    assert 4 <= len(paper.tags) == len(set(paper.tags)) <= 8
    for text in (paper.title, paper.summary, paper.claim, *paper.tags):
        assert text == " ".join(text.split()), "line breaks and double spaces are undone"


def test_nothing_is_listed_twice():
    papers = catalog.load()
    for values in (
        [paper.title for paper in papers],
        [paper.code for paper in papers if paper.code],
        [name for paper in papers for name in paper.public],
    ):
        assert len(values) == len(set(values))


def test_first_public_names():
    names = {paper.id: paper.public for paper in catalog.load() if paper.public}
    assert names["sinkhorn-newton-sparse"] == ("paperworks.numerics.sinkhorn_newton_sparse",)
    assert names["lion-k"] == ("paperworks.training.LionK",)
    assert names["presto"] == (
        "paperworks.statistics.PrestoClassifier",
        "paperworks.statistics.PrestoClassifierCV",
    )
    assert names["repeated-sampling"] == (
        "paperworks.scaling.coverage",
        "paperworks.scaling.CoverageLaw",
        "paperworks.scaling.RepeatedSampler",
    )


def test_families():
    assert catalog.families() == tuple(sorted({family for _, family, _ in ROWS}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"yaer": 2024}, r"'some-method': unknown key 'yaer'; did you mean year\?"),
        ({"status": "ready"}, "'some-method': unknown key 'status'"),
        ({"claim": None}, "'some-method': the key 'claim' is missing"),
        ({"id": None}, "record 1: the key 'id' is missing"),
        ({"id": "Some Method"}, "id must be lower-case words joined by hyphens"),
        ({"arxiv": "hep-th/9901001"}, "arxiv must be an arXiv number such as .*'hep-th/9901001'"),
        ({"year": "2024"}, "year must be of type int, got '2024'"),
        ({"year": 2023}, r"year 2023 does not agree with the arXiv number 2401\.00001"),
        ({"year": 1924}, "year 1924 does not agree"),
        ({"summary": " "}, "summary must hold text and not be empty"),
        ({"tags": []}, "tags must hold text and not be empty"),
        ({"tags": [1, 2]}, "tags must hold text"),
        ({"tags": "one"}, "tags must be of type list"),
        ({"code": "https://github.com/a/b"}, "code must be a GitHub repository as owner/name"),
        ({"public": ["numpy.linalg.solve"]}, "public must be a full name such as"),
        ({"public": ["paperworks.solve"]}, "public must be a full name such as"),
    ],
)
def test_a_wrong_record_is_named(package, changes, words):
    write(package / "catalog.toml", record(**changes))
    with pytest.raises(ValueError, match=words):
        catalog.load()


def test_a_second_record_of_one_id_is_refused(package):
    write(package / "catalog.toml", record() + record(title="Another"))
    with pytest.raises(ValueError, match="'some-method': a second record has this id"):
        catalog.load()


# Getting papers


def test_get():
    for id, family, arxiv in ROWS:
        paper = catalog.get(id)
        assert (paper.id, paper.family, paper.arxiv) == (id, family, arxiv)


@pytest.mark.parametrize(
    ("id", "near"),
    [
        ("lionk", "lion-k"),
        ("LION_K", "lion-k"),
        ("sinkhorn", "sinkhorn-newton-sparse"),
        ("scaling-law", "nmt-scaling-laws or scaling-law-estimation"),
    ],
)
def test_get_an_unknown_id_gives_those_near_it(id, near):
    with pytest.raises(catalog.UnknownPaperError, match=rf"no paper '{id}'; did you mean {near}"):
        catalog.get(id)


@pytest.mark.parametrize("id", ["", "qqqqqq"])
def test_get_an_id_like_no_other(id):
    with pytest.raises(catalog.UnknownPaperError, match=f"no paper '{id}'; `paperworks list`"):
        catalog.get(id)


def test_select_splits_the_catalogue():
    everything = catalog.load()
    assert catalog.select() == everything
    for parts in (
        [catalog.select(family=family) for family in catalog.families()],
        [catalog.select(status=status) for status in catalog.STATUSES],
    ):
        assert sorted(p.id for part in parts for p in part) == sorted(p.id for p in everything)
    assert {p.id for p in catalog.select(family="graphs")} == {"log-proximity", "powerwalk"}


def test_select_refuses_what_does_not_exist():
    with pytest.raises(ValueError, match=r"no family 'graph'; choose from adaptation, .*graphs"):
        catalog.select(family="graph")
    with pytest.raises(ValueError, match="no status 'done'; choose from ready, method, planned"):
        catalog.select(status="done")


# The status


@pytest.mark.parametrize(
    ("init", "claim", "expected"),
    [
        (None, False, "planned"),
        (None, True, "planned"),
        ("", False, "planned"),
        ("from paperworks.numerics.solver import solve", False, "planned"),
        ("from paperworks.numerics.solver import Solver", False, "planned"),
        ("from paperworks.numerics.solver import Solver as _S, solve", False, "planned"),
        ("# from paperworks.numerics.solver import Solver, solve", True, "planned"),
        ("def f():\n    from a import Solver, solve", True, "planned"),
        ("from paperworks.numerics.solver import Solver, solve", False, "method"),
        ("from paperworks.numerics.solver import Solver, solve", True, "ready"),
        ("from a import _S as Solver\nfrom b import solve", True, "ready"),
        ("def solve(): ...\nclass Solver: ...", True, "ready"),
        ("__all__ = ['solve', 'Solver']\ndef __getattr__(name): ...", True, "ready"),
        # Reading the file must not run it.
        ("from a import Solver, solve\nraise RuntimeError", True, "ready"),
    ],
)
def test_status_follows_from_what_exists(package, init, claim, expected):
    names = ["paperworks.numerics.solve", "paperworks.numerics.Solver"]
    write(package / "catalog.toml", record(public=names) + record(id="other"))
    write(package / "claims" / "other.py")
    if init is not None:
        write(package / "numerics" / "__init__.py", init)
    if claim:
        write(package / "claims" / "some_method.py")
    paper, other = catalog.load()
    assert paper.status == catalog.status(paper) == expected
    assert other.status == "planned", "no public names, whatever else there is"
    assert catalog.select(status=expected)[0] == paper


def test_status_follows_changes_at_once(package):
    write(package / "catalog.toml", record(public=["paperworks.numerics.sub.solve"]))
    [paper] = catalog.load()
    assert paper.status == "planned"
    write(package / "numerics" / "sub.py", "from a import solve")
    assert paper.status == "method"
    write(package / "claims" / "some_method.py")
    assert paper.status == "ready"
    (package / "numerics" / "sub.py").unlink()
    assert paper.status == "planned"


def test_a_method_that_counts_as_there_can_be_imported():
    for paper in catalog.load():
        if paper.status != "planned":
            for full in paper.public:
                module, _, name = full.rpartition(".")
                assert hasattr(importlib.import_module(module), name), full


# The search

FIRST = {
    "outlier activations": "llm-fp4",
    "optimal transport": "sinkhorn-newton-sparse",
    "Wasserstein distance": "sinkhorn-newton-sparse",
    "sinkhorn newton sparse": "sinkhorn-newton-sparse",
    "rare events": "presto",
    "class imbalance": "presto",
    "ordinal regression": "presto",
    "pass@k": "repeated-sampling",
    "majority voting over many samples": "repeated-sampling",
    "optimizer with weight decay": "lion-k",
    "PageRank": "powerwalk",
    "clustering the nodes of a graph": "log-proximity",
    "prune language models": "gblm-pruner",
    "LoRA": "bone",
    "merging models": "weight-matching",
    "hate speech": "bengali-text",
    "Gaussian splatting": "ges",
    "tabular data": "arm-net",
    "adversarial robustness": "doubly-robust-adversarial",
    "communication compression in federated learning": "ef21-w",
    "holdout reuse": "adaptive-data-analysis",
    "conformal quantiles": "quantile-aggregation",
    "least squares by sketching": "linf-regression",
    "equality constraints": "adasketch-newton",
    "critical batch size": "scaling-law-estimation",
    "large batches": "large-batch",
    "translation": "nmt-scaling-laws",
    "Student's t process": "scale-mixture-nngp",
    "NTK": "neural-tangent-kernel",
    "Kolmogorov-Arnold": "kat",
    "growing a network": "mixture-growth",
    "online convex optimisation regret": "optimistic-mirror-descent",
}
TOP_3 = {
    "diffusion sampling in few steps": {"usf", "deis", "f-distill"},
    "quantised": {"nupes", "eq-net", "oscillation-free-quantization"},
    "catastrophic forgetting": {
        "exssnet",
        "dependency-hypernetworks",
        "variational-continual-learning",
    },
    "equivariance": {"gaunt-tensor-product", "ponita", "lie-decompositions"},
    "algorithm discovery": {"autonumerics-zero", "functional-hashing"},
    "pruning": {"gblm-pruner", "global-magnitude-pruning", "data-pruning"},
    "partial differential equations": {"gp-hm", "barron-pde"},
    "random features": {"snnk", "bandlimited-random-weights"},
    "distil": {"self-distillation", "f-distill"},
    "infinite width": {
        "neural-tangent-kernel",
        "scale-mixture-nngp",
        "singular-kernel-classifiers",
    },
}


@pytest.mark.parametrize(("query", "id"), FIRST.items())
def test_search_finds_first(query, id):
    assert catalog.search(query)[0].paper.id == id


@pytest.mark.parametrize(("query", "ids"), TOP_3.items())
def test_search_finds_among_the_first_three(query, ids):
    assert ids <= {hit.paper.id for hit in catalog.search(query, limit=3)}


@pytest.mark.parametrize("paper", catalog.load(), ids=lambda paper: paper.id)
def test_search_finds_every_paper_by_its_title_and_by_its_id(paper):
    assert catalog.search(paper.title, limit=1)[0].paper == paper
    assert paper in [hit.paper for hit in catalog.search(paper.id, limit=3)]


@pytest.mark.parametrize("field", ["title", "id", "tags"])
def test_search_weighs_a_field_over_the_summary(package, field):
    value = ["zebra"] if field == "tags" else "zebra"
    padding = {"title": "Other", "tags": ["other"]} | {field: value}
    low = record(id="low", title="Other", tags=["other"], summary="A zebra.")
    high = record(**({"id": "high", "summary": "A horse."} | padding))
    write(package / "catalog.toml", low + high)
    hits = catalog.search("zebra")
    assert [hit.paper.id for hit in hits] == ["zebra" if field == "id" else "high", "low"]
    assert hits[0].score > hits[1].score > 0


@pytest.mark.parametrize(
    "forms",
    [
        ("prune", "pruned", "pruning", "pruner", "Pruners"),
        ("quantize", "quantized", "quantization", "quantisation", "quantising"),
        ("distil", "distills", "distillation", "distilled"),
        ("network", "networks"),
        ("class", "classes"),
    ],
)
def test_search_takes_the_forms_of_a_word_for_one(forms):
    first, *others = [catalog.search(form, limit=63) for form in forms]
    assert first
    assert all(other == first for other in others)


def test_search_without_a_match():
    assert catalog.search("xylophone") == []
    # One word that is known is enough.
    assert catalog.search("xylophone sinkhorn") == catalog.search("sinkhorn")


@pytest.mark.parametrize("query", ["", "  ", "?!", "the", "what is it"])
def test_search_for_nothing(query):
    with pytest.raises(ValueError, match="nothing to search for in"):
        catalog.search(query)


@pytest.mark.parametrize("limit", [0, -1])
def test_search_limit_must_be_positive(limit):
    with pytest.raises(ValueError, match=f"limit must be >= 1, got {limit}"):
        catalog.search("graph", limit=limit)


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=40), st.integers(1, 70))
def test_search_hits_are_sorted_positive_and_limited(text, limit):
    hits = catalog.search(f"network {text}", limit=limit)
    scores = [hit.score for hit in hits]
    assert 1 <= len(hits) <= min(limit, 63)
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] > 0
    assert len({hit.paper.id for hit in hits}) == len(hits)


def test_search_prints_nothing(capfd):
    catalog._index.cache_clear()
    catalog.search("graph")
    assert capfd.readouterr() == ("", "")


# What it costs

HEAVY = ("torch", "scipy", "numpy", "sklearn", "numba", "matplotlib", "bm25s", "jax")


@pytest.mark.parametrize("module", ["paperworks.catalog", "paperworks.cli.catalog"])
def test_listing_loads_nothing_heavy(module):
    code = f"""
import sys, {module}
from paperworks import catalog
[paper.status for paper in catalog.load()]; catalog.get("lion-k"); catalog.select("graphs")
print([name for name in {HEAVY} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
