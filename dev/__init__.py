"""What makes, shows and measures the pack; none of it is shipped."""
