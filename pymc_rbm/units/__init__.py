"""What one unit is: values, log-normaliser, mean, sampler; data checked against it."""
