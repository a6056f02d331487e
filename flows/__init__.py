"""What a user starts: the flows `vqe` and `qaoa` over one closed loop, and the command line."""
