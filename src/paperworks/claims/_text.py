"""Texts that language claims calibrate and measure on."""

from __future__ import annotations


def texts(name: str, between: str) -> tuple[str, str]:
    """A text to calibrate on and one to measure on, that have nothing in common.

    Parameters
    ----------
    name : str
        A data set of running text; or ``"python-help"``, also ``"pydoc"``: the help texts that
        Python brings, every second one each.
    between : str
        What the help texts are joined by.
    """
    if name in ("python-help", "pydoc"):
        from pydoc_data.topics import topics

        order = [topics[each] for each in sorted(topics)]
        return between.join(order[::2]), between.join(order[1::2])
    import paperworks.data

    record = paperworks.data.load(name)
    return record.valid, record.test
