"""What each paper says, as experiments: one module per paper, named by its id.

Each module defines ``CLAIMS``, a tuple of :class:`paperworks.experiment.Claim`.
"""
