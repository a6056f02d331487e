"""Shotwise: closed-loop variational quantum optimization under a shot budget and a money budget."""

__version__ = "0.1.0"
