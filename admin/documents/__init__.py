"""The documents of the Analytics section's API."""
