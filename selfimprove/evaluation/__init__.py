"""Held-out measurement: metrics, intervals and paired tests between rounds."""
