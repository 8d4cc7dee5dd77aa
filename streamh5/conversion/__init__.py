"""Files of other formats, and HDF5 files, written as new HDF5 files; stored chunks are copied where that can be."""
