//! rustnn autograd (being laid).
