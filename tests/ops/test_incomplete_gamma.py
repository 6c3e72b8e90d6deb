"""The incomplete gamma functions over the whole range of their parameters, against SciPy."""

from __future__ import annotations

import numpy as np
import rustnn
import scipy.special


def test_small_and_large_parameters() -> None:
    rng = np.random.default_rng(0)
    for scale in (1e-3, 1.0, 30.0, 1e3, 1e5, 3e6, 1e9, 1e14):
        a = scale * rng.uniform(0.5, 2.0, size=60)
        # Most of the change happens within a few square roots of a around it.
        x = np.maximum(a + np.sqrt(a) * rng.normal(size=60) * 2, a * 1e-3)
        for ours, reference in ((rustnn.igamma, scipy.special.gammainc), (rustnn.igammac, scipy.special.gammaincc)):
            got = ours(rustnn.from_numpy(a), rustnn.from_numpy(x)).numpy()
            # SciPy itself is off by 1 % five deviations below the middle at 3e6 (checked with 50 digits).
            np.testing.assert_allclose(got, reference(a, x), rtol=1e-8, atol=1e-8, err_msg=f"{ours} near {scale}")


def test_far_from_the_middle() -> None:
    a, x = np.array([1e-10, 0.5, 5.0, 1e7, 1e7]), np.array([1e-300, 700.0, 1e-20, 1.0, 1e12])
    np.testing.assert_allclose(
        rustnn.igamma(rustnn.from_numpy(a), rustnn.from_numpy(x)).numpy(), scipy.special.gammainc(a, x), rtol=1e-9
    )
