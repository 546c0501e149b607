"""Reading the few published files that are Python pickles, without running what they name.

A pickle may name any importable function and have it called. Here only plain containers, NumPy
arrays and SciPy's CSR matrices are let through; the matrices are rebuilt from their stored fields,
so that a SciPy of another version reads them too.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import defaultdict
from typing import Any

import numpy as np


class _CSR:
    """Stands in for SciPy's matrix class while unpickling; keeps the state it is given."""

    state: dict[str, Any]

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = state

    def build(self) -> Any:
        from scipy.sparse import csr_array

        s = self.state
        return csr_array((s["data"], s["indices"], s["indptr"]), shape=s.get("_shape"))


def _object_reconstructor(cls: type, base: type, state: Any) -> Any:
    """What protocol 0 calls for an object of a class with no state of its own."""
    if cls is not _CSR:
        raise pickle.UnpicklingError(f"refused to rebuild an object of {cls!r}")
    return cls()


_reconstruct = np.zeros(0).__reduce__()[0]  # NumPy's own, wherever this version keeps it
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("collections", "defaultdict"): defaultdict,
    ("copy_reg", "_reconstructor"): _object_reconstructor,
    ("copyreg", "_reconstructor"): _object_reconstructor,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"scipy.sparse.{module}", "csr_matrix"): _CSR for module in ("csr", "_csr")},
    **{
        (module, name): kind
        for module in ("__builtin__", "builtins")
        for name, kind in (("list", list), ("dict", dict), ("object", object))
    },
    # Raw bytes, as Python 3 writes them in protocol 2.
    ("_codecs", "encode"): lambda text, encoding: text.encode("latin1"),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"refused {module}.{name}: only arrays, CSR matrices and plain containers are read"
            ) from None


def restricted_load(raw: bytes) -> Any:
    """The object of a pickle of arrays, CSR matrices, dictionaries and lists.

    Raises
    ------
    pickle.UnpicklingError
        Where it names anything else.
    """
    value = _Unpickler(io.BytesIO(raw), encoding="latin1").load()
    return value.build() if isinstance(value, _CSR) else value


def sparse_from_npz_member(archive: zipfile.ZipFile, name: str) -> Any:
    """The CSR matrix that ``numpy.savez`` stored as a pickled object of shape ``()``."""
    stream = io.BytesIO(archive.read(f"{name}.npy"))
    version = np.lib.format.read_magic(stream)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[version]
    read_header(stream)
    value = restricted_load(stream.read())
    return _csr(value)


def _csr(value: Any) -> Any:
    """The matrix inside an object array of shape ``()``."""
    inner = value.item() if isinstance(value, np.ndarray) else value
    return inner.build() if isinstance(inner, _CSR) else inner
