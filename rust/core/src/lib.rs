//! rustnn core (being laid).
