"""What labels and weights tell of tags; one file for each analysis."""
