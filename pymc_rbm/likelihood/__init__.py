"""Find how likely rows of data are, and parts of rows."""
