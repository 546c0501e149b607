"""Diffusion models: noise schedules, samplers of few steps, and distillation to one."""
