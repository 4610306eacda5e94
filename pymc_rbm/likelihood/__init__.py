"""How likely rows are, and parts of rows."""
