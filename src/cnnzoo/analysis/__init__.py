"""What is asked of a net or a run: how good, how large, how fast, how near to its paper, whether it is reproduced."""
