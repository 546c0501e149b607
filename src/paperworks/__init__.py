"""paperworks: published methods as working parts, and their claims as experiments.

Nothing heavy is imported here. A family loads what it needs when it is imported:
``from paperworks.numerics import sinkhorn_newton_sparse``.
"""

__version__ = "0.1.0"
