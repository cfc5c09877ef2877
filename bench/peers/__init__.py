"""The peers of the product: each in a file of its own, set up according to its documentation."""
