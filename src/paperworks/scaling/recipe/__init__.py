"""The constants of the scaling laws of training, step by step, and what they predict."""
