"""What a file is to hold, as values: its tree, dataset specs, chunk grids and tables, attributes, references."""
