"""Layers that several networks share, and backbones."""
