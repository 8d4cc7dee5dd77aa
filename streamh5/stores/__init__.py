"""Object stores: S3, GCS, Azure, memory; HTTP to read. Requests for one object; no HDF5, no threads of their own."""
