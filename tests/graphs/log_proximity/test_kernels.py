"""Kernels and distances against closed forms, SciPy, published tables and brute force."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
import scipy.linalg
from graphs_small import path, random_graph
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ive

from paperworks.graphs import GraphProximity
from paperworks.graphs.log_proximity import MEASURES
from paperworks.graphs.log_proximity.expansion import FloatRangeError

PARAMETERS = (0.1, 0.5, 0.9)


def parts(A):
    d = A.sum(axis=1)
    return np.eye(len(A)), np.diag(d), np.diag(d) - A, A / d[:, None]


def centred(D):
    J = np.eye(len(D)) - 1 / len(D)
    return J @ D @ J


def plain(name, A, p):
    """The plain kernels as the paper writes them, by dense inverses and SciPy's expm."""
    one, _, L, P = parts(A)
    t = 0.5 * p / (1 - p)
    if name == "walk":
        return np.linalg.inv(one - p / np.abs(np.linalg.eigvals(A)).max() * A)
    if name == "forest":
        return np.linalg.inv(one + t * L)
    if name == "comm":
        return scipy.linalg.expm(t * A)
    if name == "heat":
        return scipy.linalg.expm(-t * L)
    return np.linalg.inv(one - p * P)


def log_hitting(A, beta):
    """log of z_ij / z_jj: the free energy of walks that end at their first visit of j."""
    one, _, _, P = parts(A)
    costs = np.divide(1.0, A, out=np.full_like(A, np.inf), where=A > 0)
    Z = np.linalg.inv(one - P * np.exp(-beta * costs))
    return np.log(Z / np.diag(Z))


@pytest.mark.parametrize("p", PARAMETERS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ["walk", "forest", "comm", "heat", "ppr"])
def test_plain_and_logarithmic_kernels_are_the_papers(name, weighted, p):
    A = random_graph(np.random.default_rng(1), 30, weighted=weighted, loops=weighted)
    K = plain(name, A, p)
    proximity = GraphProximity(A)
    for measure, expected in ((name, K), (f"log-{name}", np.log(K))):
        expected = (expected + expected.T) / 2  # K of personalised PageRank is not symmetric
        found = proximity.kernel(measure, p)
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-9 * np.abs(expected).max())
        d = np.diag(expected)
        np.testing.assert_allclose(
            proximity.distance(measure, p),
            (d[:, None] + d) / 2 - expected,
            atol=1e-8 * np.abs(expected).max(),
        )


@pytest.mark.parametrize("weighted", [False, True])
def test_shortest_paths_and_commute_times(weighted):
    A = random_graph(np.random.default_rng(2), 20, weighted=weighted)
    graph = nx.from_numpy_array(A)
    for _, _, data in graph.edges(data=True):
        data["cost"] = 1 / data["weight"]
    proximity = GraphProximity(A)
    paths = dict(nx.all_pairs_dijkstra_path_length(graph, weight="cost"))
    D = np.array([[paths[i][j] for j in range(20)] for i in range(20)])
    np.testing.assert_allclose(proximity.distance("sp"), D, atol=1e-12)
    np.testing.assert_allclose(proximity.kernel("sp"), -centred(D) / 2, atol=1e-12)
    R = np.array(
        [
            [
                0 if i == j else nx.resistance_distance(graph, i, j, "weight", False)
                for j in range(20)
            ]
            for i in range(20)
        ]
    )
    np.testing.assert_allclose(proximity.distance("ct"), A.sum() * R, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(
        proximity.kernel("ct"), np.linalg.pinv(np.diag(A.sum(1)) - A), atol=1e-10
    )
    np.testing.assert_allclose(proximity.distance("sp-ct", 0.3), 0.7 * R + 0.3 * D, atol=1e-9)
    np.testing.assert_allclose(proximity.distance("sp-ct", native=1.0), D, atol=1e-9)


@pytest.mark.parametrize("p", PARAMETERS)
@pytest.mark.parametrize("weighted", [False, True])
def test_free_energy_and_randomised_shortest_paths(weighted, p):
    A = random_graph(np.random.default_rng(3), 20, weighted=weighted)
    beta, h = (1 - p) / p, 1e-5
    proximity = GraphProximity(A)
    energy = -log_hitting(A, beta) / beta
    np.testing.assert_allclose(proximity.distance("fe", p), (energy + energy.T) / 2, atol=1e-7)
    # The expected cost is the derivative of the log partition function (Kivimaki et al. 2014).
    cost = -(log_hitting(A, beta + h) - log_hitting(A, beta - h)) / (2 * h)
    np.fill_diagonal(cost, 0)
    D = proximity.distance("rsp", p)
    np.testing.assert_allclose(D, (cost + cost.T) / 2, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(proximity.kernel("rsp", p), -centred(D) / 2, atol=1e-9)


def test_both_run_from_commute_times_to_shortest_paths():
    A = random_graph(np.random.default_rng(4), 15, weighted=False)
    proximity = GraphProximity(A)
    for name in ("fe", "rsp"):
        low = proximity.distance(name, native=1e-4)
        np.testing.assert_allclose(low, proximity.distance("ct") / 2, rtol=0.05)
        np.testing.assert_allclose(
            proximity.distance(name, native=30.0), proximity.distance("sp"), rtol=0.2
        )


@pytest.mark.parametrize("weighted", [False, True])
def test_sigmoid_commute_times(weighted):
    A = random_graph(np.random.default_rng(5), 25, weighted=weighted)
    one, D, L, _ = parts(A)
    proximity = GraphProximity(A)
    root = np.diag(np.diag(D) ** -0.5)
    d = np.diag(D)[:, None]
    M = root @ (A - d @ d.T / A.sum()) @ root
    corrected = centred(root @ M @ np.linalg.inv(one - M) @ M @ root)
    for name, K in (("sct", np.linalg.pinv(L)), ("scct", corrected)):
        for p in PARAMETERS:
            expected = 1 / (1 + np.exp(-0.5 * p / (1 - p) * K / K.std()))
            np.testing.assert_allclose(proximity.kernel(name, p), expected, atol=1e-9)


# Distances between neighbours and ends of the path on four nodes, scaled so that
# d12 + d23 + d34 = 3: Chebotarev, arXiv 1305.7514, figure 1. The paper's alpha of walk distances is
# t = 1 / (rho + 1 / alpha).
RHO = 2 * np.cos(np.pi / 5)
PUBLISHED = [
    ("sp", {}, 1, (1.000, 1.000, 2.000, 3.000)),
    ("ct", {}, 1, (1.000, 1.000, 2.000, 3.000)),
    ("ct", {}, 0.5, (1.000, 1.000, 1.414, 1.732)),
    ("log-walk", {"native": 1 / (RHO + 1)}, 1, (1.025, 0.950, 1.975, 3.000)),
    ("log-forest", {"native": 2.0}, 1, (0.959, 1.081, 2.040, 3.000)),
    ("forest", {"native": 1.0}, 1, (1.026, 0.947, 1.500, 1.895)),
    ("comm", {"native": 1.0}, 0.5, (0.964, 1.072, 1.492, 1.564)),
    ("walk", {"native": 1 / (RHO + 1 / 4.5)}, 1, (1.025, 0.950, 1.541, 1.466)),
    ("walk", {"native": 1 / (RHO + 1)}, 1, (0.988, 1.025, 1.379, 1.416)),
]


@pytest.mark.parametrize(("name", "options", "power", "published"), PUBLISHED)
def test_published_distances_of_a_path(name, options, power, published):
    D = GraphProximity(path(4)).distance(name, **options) ** power
    D *= 3 / (D[0, 1] + D[1, 2] + D[2, 3])
    np.testing.assert_allclose([D[0, 1], D[1, 2], D[0, 2], D[0, 3]], published, atol=1.1e-3)


@pytest.mark.parametrize("p", [0.02, 0.5, 0.97])
def test_entries_that_rounding_would_swallow(p):
    """exp(t A) of a path is a sum of Bessel functions (method of images)."""
    n, t = 60, 0.5 * p / (1 - p)
    i = np.arange(1, n + 1)
    exact = sum(
        ive(np.abs(i[:, None] - i + 2 * k * (n + 1)), 2 * t)
        - ive(np.abs(i[:, None] + i + 2 * k * (n + 1)), 2 * t)
        for k in (-1, 0, 1)
    )
    proximity = GraphProximity(path(n))
    # scipy's own digits end where images nearly cancel, at the two ends of the path.
    inner = slice(2, n - 2)
    found = proximity.kernel("log-comm", p)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[inner, inner], np.log(exact[inner, inner]) + 2 * t, atol=1e-6)
    assert found.min() < -90 or p > 0.1


@pytest.mark.parametrize("p", [0.01, 0.3, 0.9, 0.99])
@pytest.mark.parametrize("name", ["walk", "forest", "ppr"])
def test_far_entries_of_resolvents_decay_as_they_must(name, p):
    """On a path, inv(tridiagonal) is a product of ratios: log-distances add single steps up."""
    proximity = GraphProximity(path(80))
    D = proximity.distance(f"log-{name}", p)
    steps = np.concatenate([[0], np.cumsum(np.diag(D, 1))])
    np.testing.assert_allclose(D, np.abs(steps[:, None] - steps), rtol=1e-5)


def test_heat_with_a_hub_and_a_long_tail():
    """Poisson weights of a star of degree 200 underflow if taken at once."""
    A = np.zeros((230, 230))
    A[0, 1:201] = A[1:201, 0] = 1.0
    A[200:, 200:] = path(30)
    proximity = GraphProximity(A)
    K = proximity.kernel("log-heat", native=4.5)
    assert np.isfinite(K).all()
    H = scipy.linalg.expm(-4.5 * (np.diag(A.sum(1)) - A))
    safe = H > 1e-9
    np.testing.assert_allclose(K[safe], np.log(H[safe]), atol=1e-5)
    np.testing.assert_allclose(K, K.T, atol=1e-6)


def test_distances_far_below_the_kernel_keep_their_digits():
    """Where the leading eigenvector takes over, log-distances are tiny, not noise."""
    import mpmath

    A = random_graph(np.random.default_rng(9), 10, share=0.6)
    for name, native in (("log-comm", 12.0), ("log-heat", 20.0)):
        with mpmath.workdps(120):
            M = A if name == "log-comm" else A - np.diag(A.sum(1))
            H = mpmath.expm(mpmath.matrix((native * M).tolist()))
            exact = [
                [
                    float((mpmath.log(H[i, i]) + mpmath.log(H[j, j])) / 2 - mpmath.log(H[i, j]))
                    for j in range(10)
                ]
                for i in range(10)
            ]
        found = GraphProximity(A).distance(name, native=native)
        assert found.max() < 1e-8
        np.testing.assert_allclose(found, exact, rtol=1e-5)


def test_one_decomposition_for_each_matrix(monkeypatch):
    calls = []
    eigh = scipy.linalg.eigh
    monkeypatch.setattr(scipy.linalg, "eigh", lambda *a, **k: calls.append(1) or eigh(*a, **k))
    monkeypatch.setattr(scipy.linalg, "solve", None)
    rng = np.random.default_rng(6)
    proximity = GraphProximity(random_graph(rng, 30, 0.5, weighted=False))
    for name in MEASURES:
        for p in (0.3, 0.6):
            proximity.kernel(name, p)
            proximity.distance(name, p)
    assert len(calls) == 3


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    name=st.sampled_from(sorted(MEASURES)),
    p=st.floats(0.1, 0.9),
    weighted=st.booleans(),
)
def test_invariants(seed, name, p, weighted):
    rng = np.random.default_rng(seed)
    A = random_graph(rng, 12, weighted=weighted)
    proximity = GraphProximity(A)
    K, D = proximity.kernel(name, p), proximity.distance(name, p)
    np.testing.assert_allclose(K, K.T, atol=1e-8 * max(1, np.abs(K).max()))
    assert (np.diag(D) == 0).all()
    assert (D >= 0).all()
    order = rng.permutation(12)
    turned = GraphProximity(A[np.ix_(order, order)])
    np.testing.assert_allclose(
        turned.distance(name, p), D[np.ix_(order, order)], rtol=1e-6, atol=1e-8 * D.max()
    )
    # The distance is the kernel's, whatever was born first (commute time apart, by its unit).
    d = np.diag(K)
    unit = 2 * A.sum() if name == "ct" else 1.0
    if MEASURES[name].family in ("sp", "sp-ct", "rsp", "fe"):
        unit = 2.0  # -J D J / 2 has D / 2 for its distance
    np.testing.assert_allclose(unit * ((d[:, None] + d) / 2 - K), D, atol=1e-7 * D.max())


@pytest.mark.parametrize("name", ["walk", "ppr", "sp-ct"])
def test_a_unit_of_weight_only_scales(name):
    """The normalised parameter makes these blind to the unit of the weights."""
    A = random_graph(np.random.default_rng(7), 15)
    one, ten = GraphProximity(A), GraphProximity(10 * A)
    factor = {"walk": 1.0, "ppr": 1.0, "sp-ct": 0.1}[name]
    np.testing.assert_allclose(
        ten.distance(name, 0.5), factor * one.distance(name, 0.5), rtol=1e-8, atol=1e-12
    )


def test_the_parameters_are_normalised_as_in_the_paper():
    A = random_graph(np.random.default_rng(8), 150)
    proximity = GraphProximity(A)
    rho = np.abs(np.linalg.eigvals(A)).max()
    assert proximity.native("log-walk", 0.3) == pytest.approx(0.3 / rho, rel=1e-9)
    assert proximity.native("katz", 0.3) == pytest.approx(0.3 / rho, rel=1e-9)
    for name in ("forest", "comm", "log-heat", "sct", "scct"):
        assert proximity.native(name, 0.8) == pytest.approx(2.0)
    for name in ("rsp", "fe"):
        assert proximity.native(name, 0.8) == pytest.approx(0.25)
    for name in ("ppr", "log-ppr", "sp-ct"):
        assert proximity.native(name, 0.8) == 0.8
    np.testing.assert_array_equal(
        proximity.kernel("comm", 0.8), proximity.kernel("comm", native=0.5 * 0.8 / (1 - 0.8))
    )


PIECES = np.kron(np.eye(2), np.ones((4, 4)))


@pytest.mark.parametrize("name", [m.name for m in MEASURES.values() if m.connected])
def test_measures_that_need_connection_say_so(name):
    with pytest.raises(ValueError, match=r"needs a connected graph, got 2 components of 4, 4"):
        GraphProximity(PIECES).kernel(name, 0.5)
    with pytest.raises(ValueError, match=r"largest_component\(\)"):
        GraphProximity(PIECES).distance(name, 0.5)


@pytest.mark.parametrize("name", [m.name for m in MEASURES.values() if not m.connected])
def test_the_others_see_nothing_between_components(name):
    K = GraphProximity(PIECES).kernel(name, 0.5)
    np.testing.assert_allclose(K[:4, 4:], 0, atol=1e-12)
    np.testing.assert_allclose(
        K[:4, :4],
        GraphProximity(PIECES[:4, :4]).kernel(
            name, native=(GraphProximity(PIECES).native(name, 0.5))
        ),
        atol=1e-10,
    )


def test_bad_questions():
    proximity = GraphProximity(path(5))
    for p in (0.0, 1.0, -0.5, 2.0, np.nan):
        with pytest.raises(ValueError, match=r"of 'log-comm' must lie in \(0, 1\), got"):
            proximity.kernel("log-comm", p)
    with pytest.raises(ValueError, match=r"measure must be one of walk, log-walk, .*got 'logcomm'"):
        proximity.kernel("logcomm", 0.5)
    with pytest.raises(ValueError, match=r"needs a parameter in \(0, 1\), or native=t"):
        proximity.distance("heat")
    with pytest.raises(ValueError, match="got both"):
        proximity.kernel("heat", 0.5, native=1.0)
    with pytest.raises(ValueError, match=r"t of 'walk' must lie in \(0, 0.57"):
        proximity.kernel("walk", native=0.6)
    with pytest.raises(ValueError, match=r"alpha of 'ppr' must lie in \(0, 1\), got 1.0"):
        proximity.kernel("ppr", native=1.0)
    with pytest.raises(ValueError, match=r"lambda of 'sp-ct' must lie in \[0, 1\], got 1.5"):
        proximity.kernel("sp-ct", native=1.5)
    with pytest.raises(ValueError, match=r"exp\(t A\) overflows.*'log-comm'"):
        proximity.kernel("comm", native=500.0)
    with pytest.raises(ValueError, match=r"got -1\.0 on edge"):
        GraphProximity(-path(4))
    with pytest.raises(ValueError, match="node 2 has no edge"):
        GraphProximity(np.pad(path(2), (0, 2))).kernel("ppr", 0.5)
    with pytest.raises(FloatRangeError, match="take a smaller parameter"):
        proximity.distance("log-heat", native=1e4)
    with pytest.raises(FloatRangeError, match="smallest float"):
        GraphProximity(path(200)).kernel("log-comm", native=1e-3)
