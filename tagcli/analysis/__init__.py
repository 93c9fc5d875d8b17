"""What can be learned from labels, weights and spectra without training; one file for each analysis."""
