"""Front ends: waveform to the model's input, as modules that move to the device with the model."""
