"""Winograd's convolution for layers: by fewer products than the sum has."""
