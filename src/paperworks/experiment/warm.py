"""What the fork server does first, once for all trials.

Threads of OpenMP wait asleep: by default they spin, and where another program has the core that
makes small networks ten times slower. It is read when torch is loaded, so this comes before it.

And numba loads what it would otherwise load in every trial at the first compiled function, which
takes half a second.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from numba.core.registry import cpu_target

cpu_target.typing_context.refresh()
cpu_target.target_context.refresh()
