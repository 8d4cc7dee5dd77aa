"""The h5ad files of the recipe are what anndata reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import streamh5
from tests.recipes.pages import printed, run_page

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of pandas, as anndata uses it


def counts_of_the_h5ad_page(n_cells: int, n_genes: int, batch: int) -> Any:
    sparse = pytest.importorskip("scipy.sparse")
    rng = np.random.default_rng(1)
    parts, donors = [], []
    for _ in range(0, n_cells, batch):
        part = sparse.random(batch, n_genes, density=0.05, format="csr", dtype="f4", random_state=rng)
        part.data = np.ceil(part.data * 20)
        parts.append(part)
        donors.append(rng.integers(3, size=batch))
    return sparse.vstack(parts, format="csr"), np.concatenate(donors)


def test_h5ad_of_the_recipe_is_what_anndata_reads_backed_and_in_memory(tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata")
    output = run_page("h5ad", tmp_path)
    assert output.splitlines() == printed("h5ad")
    counts, donors = counts_of_the_h5ad_page(20_000, 2_000, 1_000)
    names = [f"cell{i}" for i in range(20_000)]

    whole = anndata.read_h5ad(tmp_path / "atlas.h5ad")
    assert (counts != whole.X).nnz == 0
    np.testing.assert_allclose(whole.layers["log1p"].data, np.log1p(counts.data))
    assert list(whole.obs_names) == names
    assert list(whole.var_names[:2]) == ["gene0", "gene1"]
    assert whole.obs.donor.cat.categories.tolist() == ["donor A", "donor B", "donor C"]
    np.testing.assert_array_equal(whole.obs.donor.cat.codes, donors)
    np.testing.assert_allclose(whole.obs.n_counts, np.asarray(counts.sum(axis=1)).ravel())
    assert whole.var.mitochondrial.sum() == 13

    backed = anndata.read_h5ad(tmp_path / "atlas.h5ad", backed="r")
    some = [3, 999, 1000, 19_999]
    assert (counts[some] != backed[some].to_memory().X).nnz == 0
    backed.file.close()

    scaled = anndata.read_h5ad(tmp_path / "scaled.h5ad")
    np.testing.assert_array_equal(scaled.layers["clipped"], np.clip(scaled.X, -3, 3))
    assert scaled.X.shape == (20_000, 2_000)
    assert 0.99 < scaled.X.std() < 1.01
    assert list(scaled.obs_names) == names
    with h5py.File(tmp_path / "scaled.h5ad") as file:
        assert file["X"].chunks == (1000, 500)


def test_anndata_writes_again_what_it_read_from_the_recipes_file(tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata")
    run_page("h5ad", tmp_path, N_CELLS=200, N_GENES=30, BATCH=100)
    for name in ("atlas.h5ad", "scaled.h5ad"):
        first = anndata.read_h5ad(tmp_path / name)
        first.write_h5ad(tmp_path / "again.h5ad")
        for kind in ("encoding-type", "encoding-version"):
            again = tags(tmp_path / "again.h5ad", kind)
            for node, tag in tags(tmp_path / name, kind).items():
                if not node.endswith("_index"):  # anndata 0.13 makes of pandas 3's text another kind of array
                    assert again[node] == tag, node


def tags(path: Path, kind: str) -> dict[str, str]:
    """Return an attribute of every object of a file that has it."""
    with h5py.File(path) as file:
        found = {"/": file.attrs[kind]}
        file.visititems(
            lambda name, node: found.update({name: node.attrs[kind]} if kind in node.attrs else {})
        )
    return found


def test_rows_behind_two_billion_values_are_what_anndata_reads_backed(tmp_path: Path) -> None:
    """Chunks that were never written take no space, so the test needs none either."""
    anndata = pytest.importorskip("anndata")
    n_before, last = 2**31 + 5, np.array([2.0, 3.0], "f4")
    run_page("h5ad", tmp_path, N_CELLS=200, N_GENES=30, BATCH=100)
    with streamh5.File(tmp_path / "atlas.h5ad", "a") as file:
        matrix: Any = file["X"]
        n_rows = matrix["indptr"].shape[0] - 1
        indptr = np.full(n_rows + 1, n_before, "i8")
        indptr[0], indptr[-1] = 0, n_before + 2
        matrix["indptr"][...] = indptr
        for name, values in (("data", last), ("indices", np.array([4, 7], "i4"))):
            matrix[name].resize(n_before + 2, axis=0)
            matrix[name][n_before:] = values
    backed = anndata.read_h5ad(tmp_path / "atlas.h5ad", backed="r")
    row = backed[n_rows - 1].to_memory().X.toarray().ravel()
    backed.file.close()
    expected = np.zeros(30)
    expected[[4, 7]] = last
    np.testing.assert_array_equal(row, expected)
