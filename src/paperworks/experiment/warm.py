"""What numba would otherwise load in every trial, at the first compiled function.

The fork server imports this module; half a second of each trial that uses numba is spared.
"""

from numba.core.registry import cpu_target

cpu_target.typing_context.refresh()
cpu_target.target_context.refresh()
