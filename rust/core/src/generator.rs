//! A random generator that Python objects and ops share.

use std::any::Any;
use std::sync::Arc;

/// Handle on a generator.
#[derive(Clone)]
pub struct Generator(pub Arc<dyn Any + Send + Sync>);

impl std::fmt::Debug for Generator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Generator")
    }
}
