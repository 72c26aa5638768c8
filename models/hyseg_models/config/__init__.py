"""What a network is made of: configurations, presets and their records."""
