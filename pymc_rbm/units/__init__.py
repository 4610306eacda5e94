"""What one unit is: its values, log-normaliser, mean and sampler; and the check of data against it."""
