"""Each reader on a small file made here by other means than the reader's own."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import tarfile
import zipfile
from collections import defaultdict

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from paperworks.data.readers import READERS
from paperworks.data.readers.pickles import restricted_load


@pytest.fixture
def write(tmp_path):
    def write(name: str, body: bytes):
        path = tmp_path / name
        path.write_bytes(gzip.compress(body) if name.endswith(".gz") else body)
        return path

    return write


def tar_of(members: dict[str, bytes], mode: str = "w") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, body in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return stream.getvalue()


def idx(array: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return head + array.astype(np.uint8).tobytes()


def test_idx_images(write):
    rng = np.random.default_rng(0)
    x, x_test = rng.integers(0, 256, (5, 3, 4)), rng.integers(0, 256, (2, 3, 4))
    y, y_test = np.array([3, 1, 4, 1, 5]), np.array([9, 2])
    paths = [write(f"{i}.gz", idx(a)) for i, a in enumerate((x, y, x_test, y_test))]
    read = READERS["idx_images"](paths, classes=list("abcdefghij"))
    for key, expected in (("x_train", x), ("y_train", y), ("x_test", x_test), ("y_test", y_test)):
        np.testing.assert_array_equal(read[key], expected)
        assert read[key].flags.writeable
    assert read["classes"][9] == "j"
    with pytest.raises(ValueError, match="not an IDX file"):
        READERS["idx_images"]([write("bad.gz", b"\x00\x00\x0d\x01" + bytes(8))] * 4)


def test_cifar_binary(write):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    labels = [7, 0, 9, 3, 3, 1]
    rows = [
        bytes([label]) + b"".join(image[:, :, c].tobytes() for c in range(3))
        for image, label in zip(images, labels, strict=True)
    ]
    names = [f"data_batch_{i}" for i in (2, 1, 3, 5, 4)] + ["test_batch"]  # out of order
    order = [1, 0, 2, 4, 3, 5]
    members = {f"cifar/{n}.bin": rows[i] for n, i in zip(names, order, strict=True)}
    archive = tar_of({**members, "cifar/readme.html": b"hello"}, "w:gz")
    path = write("cifar.tgz", archive)
    read = READERS["cifar_binary"]([path])
    np.testing.assert_array_equal(read["x_train"], images[:5])
    np.testing.assert_array_equal(read["x_test"], images[5:])
    assert read["y_train"].tolist() == labels[:5]
    assert read["y_test"].tolist() == labels[5:]
    assert read["classes"][9] == "truck"


def test_cifar_jpeg_is_shuffled_kept_and_mended(write, own):
    classes = {"airplane": 0, "cat": 3, "truck": 9}
    members = {}
    for name, label in classes.items():
        for i in range(4):
            stream = io.BytesIO()
            Image.new("RGB", (32, 32), (25 * label, 60 * i, 7)).save(stream, "JPEG", quality=95)
            members[f"{name}/{i:04}.jpg"] = stream.getvalue()
    paths = [write("train.tar", tar_of(members)), write("test.tar", tar_of(members))]
    first = READERS["cifar_jpeg"](paths)
    assert sorted(first["y_train"].tolist()) == [0] * 4 + [3] * 4 + [9] * 4
    assert first["y_train"].tolist() != sorted(first["y_train"].tolist())
    reds = first["x_train"][:, 16, 16, 0].astype(int)
    assert np.all(np.abs(reds - 25 * first["y_train"]) <= 4)
    kept = sorted((own / "cache/decoded").iterdir())
    assert [path.suffix for path in kept] == [".npz", ".npz"]
    again = READERS["cifar_jpeg"](paths)
    np.testing.assert_array_equal(again["x_train"], first["x_train"])
    kept[0].write_bytes(kept[0].read_bytes()[:-200])
    kept[1].write_bytes(b"")
    mended = READERS["cifar_jpeg"](paths)
    np.testing.assert_array_equal(mended["x_test"], first["x_test"])
    np.testing.assert_array_equal(mended["y_train"], first["y_train"])


def test_texts(write):
    words = {"train": "naïve \n = Title = \n", "valid": "b\n", "test": "c \n"}
    paths = [write(f"wiki.{part}.tokens.gz", text.encode()) for part, text in words.items()]
    assert READERS["split_text"](paths) == words
    assert READERS["split_text"](paths[1:]) == {**words, "train": None}

    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for part, text in words.items():
            archive.writestr(f"wikitext-2-raw/wiki.{part}.raw", text)
    assert READERS["wikitext_zip"]([write("raw.zip", stream.getvalue())]) == words

    read = READERS["one_text"]([write("input.txt", bytes(range(65, 85)))])
    assert (read["train"], read["valid"], read["test"]) == ("ABCDEFGHIJKLMNOPQR", "S", "T")


def test_json_lines(write):
    records = [{"question": "2 + 2?\u2028", "answer": "#### 4"}, {"question": "é", "answer": "1"}]
    body = "\n".join(json.dumps(record, ensure_ascii=False) for record in records) + "\n\n"
    read = READERS["json_lines"]([write("train.jsonl.gz", body.encode())])
    assert read == {"train": tuple(records), "test": ()}
    read = READERS["json_lines"]([write("HumanEval.jsonl", body.encode())])
    assert read == {"train": (), "test": tuple(records)}


def test_csv_records(write):
    first = write("a.csv.gz", b'name,Training,y\n"6 Enc, 6 Dec",1,0.5\nb,0,0.25\n')
    read = READERS["csv_records"](
        [first, write("b.csv", b"name,Training,y\nc,1,2\n")], training="Training"
    )
    assert [row["name"] for row in read["train"]] == ["6 Enc, 6 Dec", "c"]
    assert read["test"] == ({"name": "b", "Training": "0", "y": "0.25"},)


def small_graph():
    graph = nx.gnm_random_graph(9, 14, seed=4)
    features = sp.random(9, 5, 0.4, "csr", dtype=np.float32, rng=np.random.default_rng(0))
    return graph, features, np.array([0, 1, 2, 0, 1, 2, 0, 1, 2])


def check_graph(read, graph, features, labels):
    expected = nx.to_scipy_sparse_array(graph, nodelist=range(9), dtype=float)
    assert (read["adjacency"] != expected).nnz == 0
    assert (read["features"] != features).nnz == 0
    assert read["features"].dtype == np.float32
    np.testing.assert_array_equal(read["labels"], labels)


def test_planetoid_parts(write):
    graph, features, labels = small_graph()
    test = np.array([8, 6, 7])  # out of order, as published
    onehot = np.eye(3, dtype=np.int32)[labels]
    neighbours = defaultdict(list, {v: list(graph[v]) for v in graph})
    neighbours[0] += [0, *neighbours[0]]  # a self-loop and every edge twice
    objects = {
        "x": features[:2], "tx": features[test], "allx": features[:6],
        "y": onehot[:2], "ty": onehot[test], "ally": onehot[:6], "graph": neighbours,
    }  # fmt: skip
    paths = [write(f"ind.g.{k}", pickle.dumps(v, protocol=2)) for k, v in objects.items()]
    paths.append(write("ind.g.test.index", b"8\n6\n7\n"))
    read = READERS["planetoid_parts"](paths)
    check_graph(read, graph, features, labels)
    assert read["train_index"].tolist() == [0, 1]
    assert read["val_index"].tolist() == [2, 3, 4, 5]
    assert read["test_index"].tolist() == [6, 7, 8]
    assert read["has_features"].all()


def test_graph_pickled_npz(write, tmp_path):
    graph, features, labels = small_graph()
    one_way = sp.csr_matrix(sp.triu(nx.to_scipy_sparse_array(graph, nodelist=range(9))))
    np.savez(
        tmp_path / "g.npz",
        adj_matrix=np.array(one_way, dtype=object),
        node_attr=np.array(sp.csr_matrix(features), dtype=object),
        node_label=labels.astype(np.int32),
    )
    read = READERS["graph_pickled_npz"]([tmp_path / "g.npz"])
    check_graph(read, graph, features, labels)
    assert read["test_index"].shape == (0,)


@pytest.mark.parametrize("name", ["g.gml", "g.gml.gz"])
def test_graph_gml(write, name):
    graph, _, labels = small_graph()
    directed = nx.DiGraph(graph.edges)
    directed.add_nodes_from(range(9))
    directed.add_edge(0, 0)
    for node in directed:
        directed.nodes[node]["gt"] = "abc"[labels[node]]
    ordered = nx.DiGraph()
    ordered.add_nodes_from(sorted(directed.nodes(data=True)))
    ordered.add_edges_from(directed.edges)
    read = READERS["graph_gml"]([write(name, "\n".join(nx.generate_gml(ordered)).encode())])
    check_graph(read, graph, sp.csr_array((9, 0)), labels)
    assert not read["has_features"].any()


def test_graph_npz(tmp_path):
    graph, features, labels = small_graph()
    adjacency = nx.to_scipy_sparse_array(graph, nodelist=range(9), format="csr")
    np.savez(
        tmp_path / "g.npz",
        indptr=adjacency.indptr, indices=adjacency.indices, labels=labels,
        feat_indptr=features.indptr, feat_indices=features.indices, feat_data=features.data,
        num_nodes=9, num_features=5, num_classes=3,
        train_index=[0], val_index=[1], test_index=[2, 3], has_features=[True] * 8 + [False],
    )  # fmt: skip
    read = READERS["graph_npz"]([tmp_path / "g.npz"])
    check_graph(read, graph, features, labels)
    assert read["test_index"].tolist() == [2, 3]
    assert read["has_features"].sum() == 8


def test_pickles_run_nothing(tmp_path):
    class Evil:
        def __reduce__(self):
            return (eval, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

    for value in (Evil(), [Evil()], {"a": Evil()}):
        with pytest.raises(pickle.UnpicklingError, match=r"refused __builtin__\.eval"):
            restricted_load(pickle.dumps(value, protocol=2))
    with pytest.raises(pickle.UnpicklingError, match="refused"):
        restricted_load(b"cos\nsystem\n(S'true'\ntR.")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_pickles_read_arrays_and_matrices(protocol):
    matrix = sp.csr_matrix(np.array([[0, 1.5], [2.0, 0]]))
    read = restricted_load(pickle.dumps(matrix, protocol=protocol))
    np.testing.assert_array_equal(read.toarray(), matrix.toarray())
    array = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(restricted_load(pickle.dumps(array, protocol=protocol)), array)


@given(n=st.integers(10, 60), splits=st.integers(1, 4), commas=st.booleans())
def test_regression_table(tmp_path_factory, n, splits, commas):
    table = np.random.default_rng(n).standard_normal((n, 5))
    path = tmp_path_factory.mktemp("table") / "data.txt"
    np.savetxt(path, table, delimiter="," if commas else " ", fmt="%.17g")
    read = READERS["regression_table"]([path], splits=splits, target=3)
    np.testing.assert_array_equal(read["X"], table[:, :3])
    np.testing.assert_array_equal(read["y"], table[:, 3])
    assert read["test_splits"].shape == (splits, n - round(0.9 * n))
    for row in read["test_splits"]:
        assert len(set(row)) == len(row)
        assert 0 <= row.min() <= row.max() < n
    # The published rule, with NumPy's global legacy generator as in its program.
    state = np.random.get_state()
    np.random.seed(1)
    expected = [
        np.random.choice(range(n), n, replace=False)[round(n * 0.9) :] for _ in range(splits)
    ]
    np.random.set_state(state)
    np.testing.assert_array_equal(read["test_splits"], expected)
