"""Accuracy and area from a sample: population, design, draw, points and estimates."""
