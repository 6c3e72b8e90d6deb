"""The house keeps its shape: who may depend on whom, where unsafe code lives, how long files are, what is registered.

Reads source files only; runs without a built extension.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
RUST = ROOT / "rust"
PYTHON = ROOT / "python" / "rustnn"

# What each crate may build on; anything else is a step across the layers.
CRATES: dict[str, set[str]] = {
    "base": set(),
    "simd": {"base"},
    "kernels": {"base", "simd"},
    "core": {"base", "kernels"},
    "ops": {"base", "kernels", "core"},
    "autograd": {"base", "kernels", "core", "ops"},
    "py": {"base", "simd", "kernels", "core", "ops", "autograd"},
}

# Folders and files (below rust/) that may hold unsafe code.
UNSAFE = ("simd/", "kernels/", "core/src/storage", "core/src/tensor", "py/")

MOST_LINES = 600
# Longer files, each with its reason. A short list; it only shrinks.
LONG: dict[str, str] = {
    "rust/kernels/src/math/reference.rs": "a table of reference values",
}

# Python packages by layer: what a module below a prefix must not import.
ABOVE_TENSORS = ("rustnn.nn", "rustnn.optim", "rustnn.vision", "rustnn.text", "rustnn.train", "rustnn.utils.data")
ABOVE_NN = ("rustnn.vision", "rustnn.text", "rustnn.train")
FORBIDDEN: list[tuple[str, tuple[str, ...]]] = [
    ("rustnn.nn", (*ABOVE_NN, "rustnn.optim", "rustnn.utils.data")),
    ("rustnn.optim", ("rustnn.nn", *ABOVE_NN, "rustnn.utils.data")),
    ("rustnn.utils.data", ("rustnn.nn", *ABOVE_NN, "rustnn.optim")),
    ("rustnn.autograd", ABOVE_TENSORS),
    ("rustnn.vision", ("rustnn.text", "rustnn.train")),
    ("rustnn.text", ("rustnn.vision", "rustnn.train")),
]
# These join the layers for the user: the package's face, its command line, what stands in for PyTorch's modules.
JOINTS = {"rustnn", "rustnn.__main__", "rustnn.utils", "rustnn._run", "rustnn._cli"}
# (module, imported prefix): steps across the layers that stay, with the reason beside them.
ALLOWED_STEPS: set[tuple[str, str]] = {
    ("rustnn.func", "rustnn.nn"),  # functional_call takes a Module
    ("rustnn.overrides", "rustnn.nn"),  # resolve_name knows torch.nn.functional
    ("rustnn.optim.swa_utils", "rustnn.nn"),  # PyTorch's AveragedModel is a Module
}


def rust_files() -> list[Path]:
    return sorted(p for p in RUST.rglob("*.rs") if "target" not in p.parts)


def python_files() -> list[Path]:
    return sorted(PYTHON.rglob("*.py"))


def below(path: Path, top: Path) -> str:
    return path.relative_to(top).as_posix()


def without_comments(text: str) -> str:
    """Rust source without comments and string contents (good enough to look for words)."""
    pattern = r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\])*"'
    return re.sub(pattern, lambda m: '""' if m[0][0] == '"' else " ", text, flags=re.S)


def test_crates_depend_downwards() -> None:
    found = {p.parent.name for p in RUST.glob("*/Cargo.toml")}
    unknown = found - CRATES.keys() - {"testing", "wgpu"}
    assert not unknown, f"crates without a place in the layers: {unknown}"
    for name in sorted(found & CRATES.keys()):
        manifest = tomllib.loads((RUST / name / "Cargo.toml").read_text())
        tables = [manifest.get("dependencies", {}), manifest.get("build-dependencies", {})]
        ours = {d.removeprefix("rustnn-") for table in tables for d in table if d.startswith("rustnn-")}
        assert ours <= CRATES[name], f"{name} depends on {ours - CRATES[name]}"


def test_base_has_few_dependencies() -> None:
    manifest = tomllib.loads((RUST / "base" / "Cargo.toml").read_text())
    assert set(manifest["dependencies"]) <= {"half", "thiserror", "smallvec"}


def test_unsafe_code_is_where_it_may_be() -> None:
    for path in rust_files():
        name = below(path, RUST)
        if not name.startswith(UNSAFE):
            assert not re.search(r"\bunsafe\b", without_comments(path.read_text()).replace("unsafe_code", "")), (
                f"unsafe code in {name}: it belongs in {', '.join(UNSAFE)}"
            )
    for crate in ("base", "ops", "autograd"):
        text = (RUST / crate / "src" / "lib.rs").read_text()
        assert "#![forbid(unsafe_code)]" in text, f"{crate} does not forbid unsafe code"


def test_intrinsics_live_in_simd() -> None:
    for path in rust_files():
        name = below(path, RUST)
        if not name.startswith("simd/"):
            assert not re.search(r"\b(std|core)::arch\b", without_comments(path.read_text())), f"intrinsics in {name}"


def test_threads_come_from_the_pool() -> None:
    for path in rust_files():
        name = below(path, RUST)
        text = without_comments(path.read_text()).split("#[cfg(test)]")[0]
        if name.startswith("kernels/src/parallel") or "tests" in path.stem or "/tests/" in name:
            continue
        assert not re.search(r"\bthread::(spawn|scope|Builder)|\brayon::", text), f"{name} starts threads of its own"


@pytest.mark.parametrize("kind", ["rust", "python", "tests", "benches", "examples"])
def test_files_are_short(kind: str) -> None:
    files = {
        "rust": rust_files(),
        "python": python_files(),
        "tests": sorted((ROOT / "tests").rglob("*.py")),
        "benches": sorted((ROOT / "benches").rglob("*.py")),
        "examples": sorted((ROOT / "examples").rglob("*.py")),
    }[kind]
    long = {below(p, ROOT): n for p in files if (n := len(p.read_text().splitlines())) > MOST_LINES}
    new = {name: n for name, n in long.items() if name not in LONG}
    assert not new, f"files over {MOST_LINES} lines: {new}"
    if kind == "rust":
        gone = [name for name in LONG if name.endswith(".rs") and name not in long]
        assert not gone, f"no longer long, take off the list: {gone}"


def test_every_file_says_what_it_is_for() -> None:
    sources = [p for p in rust_files() if p.name != "tests.rs"]
    silent = [below(p, ROOT) for p in sources if not p.read_text().lstrip().startswith("//!")]
    for path in python_files():
        text = path.read_text()
        if text.strip() and ast.get_docstring(ast.parse(text)) is None:
            silent.append(below(path, ROOT))
    assert not silent, f"no header: {silent}"


def test_every_rust_file_is_in_the_build() -> None:
    """A file that no `mod` line names is not compiled, tested or linted."""
    for path in rust_files():
        name = below(path, RUST)
        if "/src/" not in name or path.name in ("lib.rs", "main.rs"):
            continue
        module = path.parent.name if path.name == "mod.rs" else path.stem
        folder = path.parent.parent if path.name == "mod.rs" else path.parent
        parents = [folder / "mod.rs", folder / "lib.rs", folder.with_suffix(".rs")]
        declared = any(re.search(rf"\bmod\s+{module}\s*;", p.read_text()) for p in parents if p.exists())
        by_path = any(f'#[path = "{path.name}"]' in p.read_text() for p in folder.glob("*.rs"))
        assert declared or by_path, f"{name} is in no `mod`"


def test_every_op_is_registered() -> None:
    """Each file with an `ops()` list reaches the registry, directly or through its family's list."""
    source = RUST / "ops" / "src"
    for path in sorted(source.rglob("*.rs")):
        if not re.search(r"\bpub(\(\w+\))? fn ops\(\)", path.read_text()):
            continue
        parts = list(path.relative_to(source).with_suffix("").parts)
        if parts[-1] == "mod":
            parts.pop()
        collectors = [source / "registry.rs", source / "lib.rs"]
        for depth in range(1, len(parts)):
            folder = source.joinpath(*parts[:depth])
            collectors += [folder / "mod.rs", folder.with_suffix(".rs")]
        text = "\n".join(p.read_text() for p in collectors if p.exists())
        called = rf"\b{re.escape(parts[-1])}::ops\b"
        assert re.search(called, text), f"the ops of {below(path, source)} are in no list"


def module_name(path: Path) -> str:
    parts = list(path.relative_to(PYTHON.parent).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)


def imports(path: Path) -> Iterator[str]:
    """Absolute names of all modules that a file imports, those for type checkers left out."""
    tree = ast.parse(path.read_text())
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*start, *([node.module] if node.module else [])])
            # `from rustnn import nn` imports the module `rustnn.nn`.
            yield from (f"{source}.{alias.name}" for alias in node.names)


def is_below(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def test_python_packages_import_downwards() -> None:
    steps = []
    for path in python_files():
        module = module_name(path)
        if module in JOINTS:
            continue
        top_level = module.count(".") == 1 and path.name != "__init__.py"
        rules = [bad for prefix, bad in FORBIDDEN if is_below(module, prefix)]
        if top_level:
            rules.append(ABOVE_TENSORS)
        for name in imports(path):
            for bad in (b for rule in rules for b in rule):
                if is_below(name, bad) and not is_below(module, bad) and (module, bad) not in ALLOWED_STEPS:
                    steps.append(f"{module} imports {name}")
    assert not steps, "steps across the layers:\n  " + "\n  ".join(sorted(set(steps)))


def test_the_package_imports_need_numpy_alone() -> None:
    """Anything else is an extra: imported inside the function that uses it."""
    import sys

    known = sys.stdlib_module_names | {"rustnn", "numpy"}
    strangers = []
    for path in python_files():
        for node in ast.parse(path.read_text()).body:
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            strangers += [f"{below(path, PYTHON)}: {n}" for n in names if n.split(".")[0] not in known]
    assert not strangers, f"imports at module level beyond numpy: {strangers}"
