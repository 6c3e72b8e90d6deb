//! rustnn ops (being laid).
