"""What a user starts: the flows and the command line.

`vqe` and `qaoa` share one closed loop, `rqaoa` and `scan` have loops of their own, `sweep` drives many runs;
`calibrate` and `reconcile` look after devices and books.
"""
