"""Exact simulation engines: each turns circuits of its kind into a program of pure functions."""

from backends.engines.program import Engine, Program

__all__ = ["Engine", "Program"]
