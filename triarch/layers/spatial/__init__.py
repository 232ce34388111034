"""Layers that move their inputs in space, by transformations that are given or learnt."""
