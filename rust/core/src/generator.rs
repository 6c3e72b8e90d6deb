//! A random generator that Python objects and ops share, and the default one.

use rustnn_kernels::forks::ForkLock;
use rustnn_kernels::random;
use std::sync::{Arc, LazyLock};

/// Handle on a generator: cloning it shares its state. Draws hold its lock for as long as they take, so a `fork` often
/// happens meanwhile; the child must be able to draw all the same.
#[derive(Clone)]
pub struct Generator(Arc<ForkLock<random::Generator>>);

/// What a fresh `Generator()` starts with.
pub const DEFAULT_SEED: u64 = 67_280_421_310_721;

impl std::fmt::Debug for Generator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Generator")
    }
}

impl Generator {
    /// One of its own, seeded.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Generator(Arc::new(ForkLock::new(random::Generator::new(seed))))
    }

    /// Runs `f` on the generator, alone.
    pub fn with<R>(&self, f: impl FnOnce(&mut random::Generator) -> R) -> R {
        self.0.with(f)
    }
}

static DEFAULT: LazyLock<Generator> = LazyLock::new(|| Generator::new(DEFAULT_SEED));

/// The one that draws use when none is given.
#[must_use]
pub fn default_generator() -> &'static Generator {
    &DEFAULT
}
