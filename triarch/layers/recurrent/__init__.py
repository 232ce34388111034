"""Recurrent layers: what a step gives depends on the steps before it."""
