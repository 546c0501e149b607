"""Data sets and small models: embedded, generated, or downloaded once and checked."""

from paperworks.data.datasets import available, fetch, load, names, path
from paperworks.data.errors import CorruptDataError, DataError, DownloadError, MissingDataError
from paperworks.data.kinds import Graph, Images, Records, Regression, Text
from paperworks.data.models import LoadedModel, fetch_model, load_model, model_names, model_path

__all__ = [
    # data sets
    "load",
    "names",
    "available",
    "path",
    "fetch",
    # what load returns
    "Images",
    "Text",
    "Records",
    "Graph",
    "Regression",
    # small models
    "load_model",
    "LoadedModel",
    "model_names",
    "model_path",
    "fetch_model",
    # errors
    "DataError",
    "MissingDataError",
    "DownloadError",
    "CorruptDataError",
]
