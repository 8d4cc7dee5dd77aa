"""What people pass, checked: keywords, paths, sizes of memory."""
