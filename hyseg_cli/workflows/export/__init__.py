"""`hyseg export`."""
