"""What a file holds, and whether it is right: inspect and verify."""
