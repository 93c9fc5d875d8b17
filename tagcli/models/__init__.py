"""The networks, each the paper's figure in code: log-mel to logits and embeddings."""
