"""Object stores: S3, GCS, Azure and fsspec's memory. Requests for one object; no HDF5, no threads of their own."""
