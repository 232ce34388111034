"""Layers of few channels that hand a gradient on: the vendor's convolution with another gradient of its inputs."""
