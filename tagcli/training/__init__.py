"""Learning: fresh weights, those of a checkpoint, or a training to be gone on with; one loop for all of them."""
