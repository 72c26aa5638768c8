"""What is written: work folders, shards, cloud-optimised maps, mosaics and sidecars."""
