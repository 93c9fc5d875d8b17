"""From paths to clips: find the tracks, stream them to mono float32 at the model's rate, cut the clips."""
