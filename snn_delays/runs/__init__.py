"""What is done to runs and to trained networks: load, evaluate, draw, export, tabulate."""
