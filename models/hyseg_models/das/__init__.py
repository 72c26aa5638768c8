"""Differences of the prior as affinity (P2A), and attention guided by it (DAS)."""
