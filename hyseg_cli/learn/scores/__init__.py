"""How good a map is: confusion, structure, boundaries, seams and calibration."""
