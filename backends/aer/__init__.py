"""Noisy devices on this machine: snapshots of real ones, through Aer in qiskit-ibm-runtime's local mode.

`backends.aer.snapshots` reads the snapshots without importing qiskit.
"""
