"""What the product is measured against: each peer in a file of its own, set up as its documentation has it."""
