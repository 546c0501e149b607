"""Repeated sampling: coverage, its law, selection, cost, and the sampler itself."""
