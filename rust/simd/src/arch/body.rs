//! The bodies of the tile kernels, written once over a module's vector primitives (`V`, `zero`, `splat`, `load`,
//! `load_n`, `store`, `store_n`, `fma`, `mul`, `add`, `sub`, `sums`, `pairs`) and compiled per instruction set by
//! [`tile_kernels!`].

/// A loop over `0..n`, `n` at most the bound given, written out: sums in an array stay in registers only where every
/// index is a constant before the compiler takes the array apart, which it does before it unrolls larger loops.
macro_rules! each {
    ($i:ident < $n:ident <= 2, $body:block) => { each!($i, $n, $body, 0 1) };
    ($i:ident < $n:ident <= 3, $body:block) => { each!($i, $n, $body, 0 1 2) };
    ($i:ident < $n:ident <= 4, $body:block) => { each!($i, $n, $body, 0 1 2 3) };
    ($i:ident < $n:ident <= 6, $body:block) => { each!($i, $n, $body, 0 1 2 3 4 5) };
    ($i:ident < $n:ident <= 8, $body:block) => { each!($i, $n, $body, 0 1 2 3 4 5 6 7) };
    ($i:ident < $n:ident <= 12, $body:block) => { each!($i, $n, $body, 0 1 2 3 4 5 6 7 8 9 10 11) };
    ($i:ident, $n:ident, $body:block, $($k:literal)*) => { $(if $k < $n { let $i: usize = $k; $body })* };
}

/// Scales a tile's sums, adds what is to be added, and stores them. Written out where the sums are, see [`each!`]: a
/// function that takes them by address has them stored at every step.
macro_rules! finish {
    ($g:ident, $acc:ident, $L:expr, $m:ident <= $mm:tt, $n:ident <= $nn:tt) => {
        if $g.alpha != 1.0 {
            let alpha = splat($g.alpha);
            finish!(@ $acc, $m <= $mm, $n <= $nn, |_i, _j, v| mul(alpha, v));
        }
        // Of the last vector only some columns may exist.
        let whole = |j: usize| j + 1 < $n || $g.last == $L;
        match $g.add {
            Add::Nothing => {}
            Add::Dst => {
                finish!(@ $acc, $m <= $mm, $n <= $nn, |i, j, v| {
                    let c = $g.c.add(i * $g.ldc + j * $L);
                    add(if whole(j) { load(c) } else { load_n(c, $g.last) }, v)
                });
            }
            Add::PerRow => {
                finish!(@ $acc, $m <= $mm, $n <= $nn, |i, _j, v| add(splat(*$g.bias.add(i)), v));
            }
            Add::PerColumn => {
                finish!(@ $acc, $m <= $mm, $n <= $nn, |_i, j, v| {
                    let d = $g.bias.add(j * $L);
                    add(if whole(j) { load(d) } else { load_n(d, $g.last) }, v)
                });
            }
        }
        each!(i < $m <= $mm, {
            each!(j < $n <= $nn, {
                let c = $g.c.add(i * $g.ldc + j * $L);
                if whole(j) { store(c, $acc[i][j]) } else { store_n(c, $g.last, $acc[i][j]) }
            });
        });
    };
    (@ $acc:ident, $m:ident <= $mm:tt, $n:ident <= $nn:tt, |$i:ident, $j:ident, $v:ident| $new:expr) => {
        each!($i < $m <= $mm, {
            each!($j < $n <= $nn, {
                let $v = $acc[$i][$j];
                $acc[$i][$j] = $new;
            });
        });
    };
}

/// Repeats a step, four times per jump: left to itself the compiler does not unroll these loops, and a jump per step
/// costs 2 to 15 % of a product, by where the code happens to lie.
macro_rules! repeat {
    ($n:expr, $step:block) => {{
        let n = $n;
        for _ in 0..n / 4 {
            $step
            $step
            $step
            $step
        }
        for _ in 0..n % 4 {
            $step
        }
    }};
}

/// Defines `gemm`, `rows`, `taps`, `conv`, `dot`, `tiles` and `outputs` over the primitives in scope, under the given attributes.
macro_rules! tile_kernels {
    ($(#[$tf:meta])* $T:ty, $L:expr) => {
        use crate::arch::{Add, ConvArgs, DotArgs, GemmArgs, TapsArgs, TilesArgs, fetch};

        /// Has the tile's place in memory brought near while the sums are made, if that is time enough: from L3 it costs a
        /// tenth of a product.
        #[inline]
        $(#[$tf])*
        fn ahead<const M: usize, const N: usize>(g: &GemmArgs<$T>) {
            if g.k < 64 {
                return;
            }
            each!(i < M <= 12, {
                let c = g.c.wrapping_add(i * g.ldc);
                fetch(c);
                fetch(c.wrapping_add((N - 1) * $L + g.last - 1));
            });
        }

        /// # Safety
        /// See [`GemmArgs`]; the CPU has this module's instruction set.
        $(#[$tf])*
        pub unsafe fn gemm<const M: usize, const N: usize, const PACKED: bool>(g: &GemmArgs<$T>) {
            // SAFETY: all reads and writes are those that `GemmArgs` allows, by this function's contract.
            unsafe {
                let mut acc = [[zero(); N]; M];
                let (mut a, mut b) = (g.a, g.b);
                ahead::<M, N>(g);
                repeat!(g.k, {
                    let mut bv = [zero(); N];
                    each!(j < N <= 2, {
                        bv[j] = if PACKED || j + 1 < N { load(b.add(j * $L)) } else { load_n(b.add(j * $L), g.last) };
                    });
                    each!(i < M <= 12, {
                        let av = splat(*a.offset(if PACKED { i as isize } else { i as isize * g.a_rs }));
                        each!(j < N <= 2, {
                            acc[i][j] = fma(av, bv[j], acc[i][j]);
                        });
                    });
                    a = a.offset(if PACKED { M as isize } else { g.a_ks });
                    b = b.offset(if PACKED { (N * $L) as isize } else { g.b_ks });
                });
                finish!(g, acc, $L, M <= 12, N <= 2);
            }
        }

        /// As `gemm` with `b` packed and `a` as it lies: rows are found by `M` addresses and one running offset.
        ///
        /// # Safety
        /// See [`GemmArgs`]; the CPU has this module's instruction set.
        $(#[$tf])*
        pub unsafe fn rows<const M: usize, const N: usize>(g: &GemmArgs<$T>) {
            // SAFETY: all reads and writes are those that `GemmArgs` allows, by this function's contract.
            unsafe {
                let mut acc = [[zero(); N]; M];
                let mut row = [g.a; M];
                for i in 1..M {
                    row[i] = row[i - 1].offset(g.a_rs);
                }
                let (mut at, mut b) = (0isize, g.b);
                ahead::<M, N>(g);
                repeat!(g.k, {
                    let mut bv = [zero(); N];
                    each!(j < N <= 2, {
                        bv[j] = load(b.add(j * $L));
                    });
                    each!(i < M <= 12, {
                        let av = splat(*row[i].offset(at));
                        each!(j < N <= 2, {
                            acc[i][j] = fma(av, bv[j], acc[i][j]);
                        });
                    });
                    at += g.a_ks;
                    b = b.add(N * $L);
                });
                finish!(g, acc, $L, M <= 12, N <= 2);
            }
        }

        /// As `rows`, each row with an address of its own and its values found by a table.
        ///
        /// # Safety
        /// See [`TapsArgs`]; the CPU has this module's instruction set.
        $(#[$tf])*
        pub unsafe fn taps<const M: usize, const N: usize>(t: &TapsArgs<$T>) {
            let g = &t.gemm;
            // SAFETY: all reads and writes are those that `TapsArgs` allows, by this function's contract.
            unsafe {
                let mut acc = [[zero(); N]; M];
                let mut row = [std::ptr::null::<$T>(); M];
                each!(i < M <= 6, {
                    row[i] = *t.rows.add(i);
                });
                let (mut off, mut b) = (t.off, g.b);
                ahead::<M, N>(g);
                repeat!(g.k, {
                    let o = *off as usize;
                    let mut bv = [zero(); N];
                    each!(j < N <= 2, {
                        bv[j] = load(b.add(j * $L));
                    });
                    each!(i < M <= 6, {
                        let av = splat(*row[i].add(o));
                        each!(j < N <= 2, {
                            acc[i][j] = fma(av, bv[j], acc[i][j]);
                        });
                    });
                    off = off.add(1);
                    b = b.add(N * $L);
                });
                finish!(g, acc, $L, M <= 6, N <= 2);
            }
        }

        /// # Safety
        /// See [`ConvArgs`]; the CPU has this module's instruction set.
        $(#[$tf])*
        #[allow(dead_code)]
        pub unsafe fn conv<const M: usize, const N: usize>(g: &ConvArgs<$T>) {
            // SAFETY: all reads and writes are those that `ConvArgs` allows, by this function's contract.
            unsafe {
                let mut acc = [[zero(); N]; M];
                let mut src = [std::ptr::null::<$T>(); N];
                each!(j < N <= 8, {
                    src[j] = *g.src.add(j);
                });
                if g.k >= 64 {
                    each!(j < N <= 8, {
                        each!(i < M <= 6, {
                            fetch((*g.dst.add(j)).wrapping_add(i * g.ms));
                        });
                    });
                }
                let (mut a, mut off) = (g.a, g.off);
                repeat!(g.k, {
                    let o = *off as usize;
                    // What there are fewer of waits in registers: 3 rows by 4 vectors leave no room for the vectors.
                    if M <= N {
                        let mut av = [zero(); M];
                        each!(i < M <= 6, {
                            av[i] = splat(*a.add(i));
                        });
                        each!(j < N <= 8, {
                            let bv = load(src[j].add(o));
                            each!(i < M <= 6, {
                                acc[i][j] = fma(av[i], bv, acc[i][j]);
                            });
                        });
                    } else {
                        let mut bv = [zero(); N];
                        each!(j < N <= 8, {
                            bv[j] = load(src[j].add(o));
                        });
                        each!(i < M <= 6, {
                            let av = splat(*a.add(i));
                            each!(j < N <= 8, {
                                acc[i][j] = fma(av, bv[j], acc[i][j]);
                            });
                        });
                    }
                    a = a.add(M);
                    off = off.add(1);
                });
                if g.add == Add::PerRow {
                    each!(i < M <= 6, {
                        let bias = splat(*g.bias.add(i));
                        each!(j < N <= 8, {
                            acc[i][j] = add(bias, acc[i][j]);
                        });
                    });
                }
                each!(j < N <= 8, {
                    let n = *g.lanes.add(j) as usize;
                    let dst = *g.dst.add(j);
                    if g.add == Add::Dst {
                        each!(i < M <= 6, {
                            let c = dst.add(i * g.ms);
                            acc[i][j] = add(if n == $L { load(c) } else { load_n(c, n) }, acc[i][j]);
                        });
                    }
                    each!(i < M <= 6, {
                        let c = dst.add(i * g.ms);
                        if n == $L { store(c, acc[i][j]) } else { store_n(c, n, acc[i][j]) }
                    });
                });
            }
        }

        /// # Safety
        /// See [`DotArgs`]; the CPU has this module's instruction set.
        $(#[$tf])*
        #[allow(dead_code)]
        pub unsafe fn dot<const M: usize, const N: usize>(g: &DotArgs<$T>) {
            // SAFETY: all reads and writes are those that `DotArgs` allows, by this function's contract.
            unsafe {
                let mut acc = [[zero(); N]; M];
                let mut b = [std::ptr::null::<$T>(); N];
                each!(j < N <= 3, {
                    b[j] = *g.b.add(j);
                });
                for r in 0..g.nrows {
                    let (ao, bo) = *g.rows.add(r);
                    let (mut ao, mut bo) = (ao as usize, bo as usize);
                    for _ in 0..g.full {
                        let mut bv = [zero(); N];
                        each!(j < N <= 3, {
                            bv[j] = load(b[j].add(bo));
                        });
                        each!(i < M <= 4, {
                            let av = load(g.a.add(i * g.a_rs + ao));
                            each!(j < N <= 3, {
                                acc[i][j] = fma(av, bv[j], acc[i][j]);
                            });
                        });
                        ao += $L;
                        bo += $L;
                    }
                    if g.tail > 0 {
                        let mut bv = [zero(); N];
                        each!(j < N <= 3, {
                            bv[j] = load_n(b[j].add(bo), g.tail);
                        });
                        each!(i < M <= 4, {
                            let av = load_n(g.a.add(i * g.a_rs + ao), g.tail);
                            each!(j < N <= 3, {
                                acc[i][j] = fma(av, bv[j], acc[i][j]);
                            });
                        });
                    }
                }
                // Four side by side, row after row.
                let fours = (M * N).div_ceil(4);
                each!(f < fours <= 3, {
                    let mut v = [zero(); 4];
                    let four = 4;
                    each!(e < four <= 4, {
                        if f * 4 + e < M * N {
                            v[e] = acc[(f * 4 + e) / N][(f * 4 + e) % N];
                        }
                    });
                    sums(g.out.add(f * 4), v[0], v[1], v[2], v[3]);
                });
            }
        }

        /// # Safety
        /// See [`TilesArgs`]; the CPU has this module's instruction set.
        $(#[$tf])*
        #[allow(dead_code)]
        pub unsafe fn tiles(t: &TilesArgs<$T>) {
            // SAFETY: all reads and writes are those that `TilesArgs` allows, by this function's contract.
            unsafe {
                for i in (0..t.count).step_by($L) {
                    let (mut r, mut to) = (t.rows.add(i), t.to.add(i));
                    for _ in 0..4 {
                        let (a, b) = (load(r), load(r.add(t.pitch)));
                        let (c, d) = (load(r.add(2 * t.pitch)), load(r.add(3 * t.pitch)));
                        store(to, sub(a, c));
                        store(to.add(4 * t.point), add(b, c));
                        store(to.add(8 * t.point), sub(c, b));
                        store(to.add(12 * t.point), sub(b, d));
                        r = r.add(t.apart);
                        to = to.add(t.point);
                    }
                }
            }
        }

        /// # Safety
        /// See [`crate::arch::OutputsFn`]; the CPU has this module's instruction set.
        $(#[$tf])*
        #[allow(dead_code)]
        pub unsafe fn outputs(m: *const $T, pitch: usize, n: usize, y: *mut $T) {
            // SAFETY: all reads and writes are those that `OutputsFn` allows, by this function's contract.
            unsafe {
                let lines = 4;
                for i in (0..n).step_by($L) {
                    let (mut upper, mut lower) = ([zero(); 4], [zero(); 4]);
                    each!(v < lines <= 4, {
                        let m = m.add(v * pitch + i);
                        let (a, b) = (load(m), load(m.add(4 * pitch)));
                        let (c, d) = (load(m.add(8 * pitch)), load(m.add(12 * pitch)));
                        upper[v] = add(add(a, b), c);
                        lower[v] = sub(sub(b, c), d);
                    });
                    for (half, [a, b, c, d]) in [upper, lower].into_iter().enumerate() {
                        let (low, high) = pairs(add(add(a, b), c), sub(sub(b, c), d));
                        let y = y.add(2 * (half * pitch + i));
                        store(y, low);
                        store(y.add($L), high);
                    }
                }
            }
        }
    };
}

/// The table of `gemm` kernels with the given numbers of rows.
macro_rules! gemm_table {
    ($m:ident, $packed:literal; $($r:literal),*) => {
        &[$([$m::gemm::<$r, 1, $packed>, $m::gemm::<$r, 2, $packed>]),*]
    };
}

/// The table of `rows` kernels with the given numbers of rows.
macro_rules! rows_table {
    ($m:ident; $($r:literal),*) => {
        &[$([$m::rows::<$r, 1>, $m::rows::<$r, 2>]),*]
    };
}

/// The table of `taps` kernels.
macro_rules! taps_table {
    ($m:ident; $($r:literal),*) => {
        &[$([$m::taps::<$r, 1>, $m::taps::<$r, 2>]),*]
    };
}

/// The table of `conv` kernels: more vectors where rows are few, so that enough sums run side by side. (4 rows by 3
/// vectors need every one of 16 registers, and the compiler one more.)
macro_rules! conv_table {
    ($m:ident) => {
        &[
            &[
                $m::conv::<1, 1>,
                $m::conv::<1, 2>,
                $m::conv::<1, 3>,
                $m::conv::<1, 4>,
                $m::conv::<1, 5>,
                $m::conv::<1, 6>,
                $m::conv::<1, 7>,
                $m::conv::<1, 8>,
            ],
            &[$m::conv::<2, 1>, $m::conv::<2, 2>, $m::conv::<2, 3>, $m::conv::<2, 4>],
            &[$m::conv::<3, 1>, $m::conv::<3, 2>, $m::conv::<3, 3>, $m::conv::<3, 4>],
            &[$m::conv::<4, 1>, $m::conv::<4, 2>],
            &[$m::conv::<5, 1>, $m::conv::<5, 2>],
            &[$m::conv::<6, 1>, $m::conv::<6, 2>],
        ]
    };
}

/// The table of `dot` kernels.
macro_rules! dot_table {
    ($m:ident) => {
        &[
            [$m::dot::<1, 1>, $m::dot::<1, 2>, $m::dot::<1, 3>],
            [$m::dot::<2, 1>, $m::dot::<2, 2>, $m::dot::<2, 3>],
            [$m::dot::<3, 1>, $m::dot::<3, 2>, $m::dot::<3, 3>],
            [$m::dot::<4, 1>, $m::dot::<4, 2>, $m::dot::<4, 3>],
        ]
    };
}
