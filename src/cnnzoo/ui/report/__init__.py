"""One page that tells a run: a file that can be mailed."""
