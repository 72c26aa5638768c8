"""Training: batches, stages, callbacks, checkpoints and diagnostics."""
