"""How hard a task is to generalize on, in bits: dimension, class distance, and the count itself."""
