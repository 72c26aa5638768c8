"""What is written: the work folder of a run, shards, cloud-optimised maps, mosaics and side-cars."""
