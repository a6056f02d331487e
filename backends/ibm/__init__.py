"""IBM Quantum backends over IBM's REST API, through the transport of qiskit-ibm-runtime."""
