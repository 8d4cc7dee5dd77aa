"""The structures that find the chunks of a dataset, one module per index type."""
