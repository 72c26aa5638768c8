"""From images and labels to chips: pairs, labelled scenes, legends, splits and statistics."""
