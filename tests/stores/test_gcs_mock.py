"""The mock of Google Cloud Storage is one that Google's own client takes for the store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.stores.gcs_mock import BUCKET, MIN_PART, GCSMock

gcsfs = pytest.importorskip("gcsfs")
credentials = pytest.importorskip("google.auth.credentials")
storage = pytest.importorskip("google.cloud.storage")
transfer_manager = pytest.importorskip("google.cloud.storage.transfer_manager")


def test_uploads_of_googles_client_are_what_gcsfs_reads(gcs: GCSMock, tmp_path: Path) -> None:
    content = np.random.default_rng(1).bytes(2 * MIN_PART + 1000)
    (tmp_path / "whole").write_bytes(content)
    client = storage.Client(
        project="project",
        credentials=credentials.AnonymousCredentials(),
        client_options={"api_endpoint": f"http://127.0.0.1:{gcs.port}"},
    )
    blob = client.bucket(BUCKET).blob("of/google")
    transfer_manager.upload_chunks_concurrently(
        tmp_path / "whole",
        blob,
        chunk_size=MIN_PART,
        max_workers=2,
        worker_type=transfer_manager.THREAD,
        checksum="crc32c",
    )
    assert any("PUT" in request for request in gcs.requests)
    system = gcsfs.core.GCSFileSystem(**gcs.options(), skip_instance_cache=True)
    assert system.cat_file(f"{BUCKET}/of/google") == content
