"""Segmentation networks that HySeg can improve."""
