"""Vector data: areas of interest, formats, features, and the process that writes layers."""
