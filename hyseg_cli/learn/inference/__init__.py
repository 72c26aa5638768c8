"""From pixels to probabilities: standardising, predicting, augmenting and stitching."""
