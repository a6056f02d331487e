"""Our plans as circuits of a device: synthesised for any SDK, transpiled once per structure, bound after.

Exports nothing here: `success` and `synthesis` are imported without qiskit, everything else needs it.
"""
