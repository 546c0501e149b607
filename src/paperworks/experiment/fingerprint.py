"""A fingerprint of the code behind a claim, so that an old result is never passed off as new.

It covers the claim's module, every module of the same package that it imports (transitively,
found by reading the source, not by importing), every file beside such a module that it names in
a string (its data), and the versions of Python and of the libraries that the numbers depend on.
A package's ``__init__`` that is only passed through on the way to a module counts with its own
text; one that is imported from counts with all that it imports.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import platform
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from paperworks.experiment.claim import Claim

_LIBRARIES = ("numba", "numpy", "scikit-learn", "scipy", "torch")


def versions(claim: Claim) -> dict[str, str]:
    """The versions of Python, the numerical libraries and what the claim requires."""
    found = {"python": platform.python_version()}
    for name in (*_LIBRARIES, *claim.requires):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def fingerprint(claim: Claim) -> str:
    """Sixteen hexadecimal digits that change when the code behind the claim changes."""
    digest = hashlib.sha256(_code(claim.trial.__module__))
    for name, version in sorted(versions(claim).items()):
        digest.update(f"{name}={version}\0".encode())
    return digest.hexdigest()[:16]


def module_fingerprint(module: str) -> str:
    """The same of a module's code alone, for what a claim keeps from one trial to another."""
    return hashlib.sha256(_code(module)).hexdigest()[:16]


def _code(module: str) -> bytes:
    """The sources of a module as one text."""
    found = sorted(_sources(module).items())
    return b"".join(f"{name}\0".encode() + text + b"\0" for name, text in found)


def _sources(module: str) -> dict[str, bytes]:
    """The source of ``module`` and of all it imports from its own top-level package, and data."""
    top = module.partition(".")[0]
    found: dict[str, bytes] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _path(name)
        if name in found or path is None:
            continue
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        source = _read(path, package, path.stat().st_mtime_ns)
        found[name] = source.text
        found |= {
            f"{name}:{beside.name}": beside.read_bytes()
            for beside in path.parent.iterdir()
            if beside.name in source.strings and beside.is_file()
        }
        for above in _parents(name):
            init = _path(above)
            if init is not None:
                # Under a key of its own: passing through a package is less than importing it.
                found.setdefault(f"{above}.__init__", init.read_bytes())
        waiting += [target for target in source.imports if target.split(".")[0] == top]
    return found


@dataclass(frozen=True)
class _Source:
    """A module's text, the modules that it names in imports, and its strings."""

    text: bytes
    imports: frozenset[str]
    strings: frozenset[str]


@cache
def _read(path: Path, package: str, modified: int) -> _Source:
    """Read and parse a module of ``package``, again only when it was modified."""
    text = path.read_bytes()
    nodes = list(ast.walk(ast.parse(text)))
    strings = {
        node.value
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    return _Source(text, frozenset(_imports(nodes, package)), frozenset(strings))


def _imports(nodes: Iterable[ast.AST], package: str) -> Iterator[str]:
    """Every module that a module of ``package`` names in an import, wherever it stands."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base]).rstrip(".")
            submodules = [f"{base}.{alias.name}" for alias in node.names]
            inner = [target for target in submodules if _path(target) is not None]
            # `from package import module` asks for the module; anything else asks for the base.
            if len(inner) < len(submodules):
                yield base
            yield from inner


def _parents(name: str) -> Iterator[str]:
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


@lru_cache
def _root(top: str) -> Path | None:
    """Where the top-level package or module lies, found without importing it."""
    spec = importlib.util.find_spec(top)
    return Path(spec.origin) if spec is not None and spec.origin else None


def _path(name: str) -> Path | None:
    """The source file of a module, or None where it has none."""
    top, *rest = name.split(".")
    root = _root(top)
    if root is None or not root.exists():
        return None
    if not rest:
        return root
    base = root.parent.joinpath(*rest)
    for path in (base / "__init__.py", base.with_suffix(".py")):
        if path.is_file():
            return path
    return None
