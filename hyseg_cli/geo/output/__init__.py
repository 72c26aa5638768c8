"""Outputs: work folders, shards, cloud-optimised maps, mosaics and side-cars."""
