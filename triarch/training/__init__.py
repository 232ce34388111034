"""Training: sources of data -> steps -> loops, for anything that has weights and a call."""
