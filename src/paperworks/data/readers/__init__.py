"""From checked files to arrays and texts: one reader per format, named by ``registry.toml``.

A reader takes the paths of a form's files in the registry's order, and the form's options as
keywords. It returns the fields of one of the records in :mod:`paperworks.data.kinds`. Nothing is
unpickled without the allow-list of :mod:`paperworks.data.readers.pickles`.
"""

from collections.abc import Callable
from typing import Any

from paperworks.data.readers import graphs, images, tables, texts

READERS: dict[str, Callable[..., dict[str, Any]]] = {
    reader.__name__: reader
    for reader in (
        images.idx_images,
        images.cifar_binary,
        images.cifar_jpeg,
        texts.split_text,
        texts.wikitext_zip,
        texts.one_text,
        texts.json_lines,
        texts.json_list,
        texts.csv_records,
        graphs.graph_npz,
        graphs.planetoid_parts,
        graphs.graph_pickled_npz,
        graphs.graph_gml,
        tables.regression_npz,
        tables.regression_table,
    )
}

__all__ = ["READERS"]
