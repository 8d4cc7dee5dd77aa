"""The handles that a person holds: file, groups, datasets, attributes; and the session that they share."""
