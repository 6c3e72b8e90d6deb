//! Names of nodes made in Python, kept for the life of the process, each once.

use std::collections::HashSet;
use std::sync::{LazyLock, Mutex};

static NAMES: LazyLock<Mutex<HashSet<&'static str>>> = LazyLock::new(Mutex::default);

/// The one copy of `name`.
pub fn intern(name: &str) -> &'static str {
    let mut all = match NAMES.lock() {
        Ok(g) => g,
        Err(e) => e.into_inner(),
    };
    if let Some(n) = all.get(name) {
        return n;
    }
    let n: &'static str = Box::leak(name.to_owned().into_boxed_str());
    all.insert(n);
    n
}
