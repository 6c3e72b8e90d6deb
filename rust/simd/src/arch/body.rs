//! The bodies of the tile kernels, written once over a module's vector primitives (`V`, `zero`, `splat`, `load`,
//! `load_n`, `store`, `store_n`, `fma`, `mul`, `add`, `sum`) and compiled per instruction set by
//! [`tile_kernels!`].

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

/// Defines `gemm`, `rows`, `conv` and `dot` over the primitives in scope, under the given attributes.
macro_rules! tile_kernels {
    ($(#[$tf:meta])* $T:ty, $L:expr) => {
        use crate::arch::{Add, ConvArgs, DotArgs, GemmArgs, fetch};

        /// Scales a tile's sums, adds what is to be added, and stores them.
        ///
        /// # Safety
        /// As [`gemm`].
        #[inline]
        $(#[$tf])*
        unsafe fn finish<const M: usize, const N: usize>(g: &GemmArgs<$T>, mut acc: [[V; N]; M]) {
            // SAFETY: all reads and writes are those that `GemmArgs` allows, by this function's contract.
            unsafe {
                if g.alpha != 1.0 {
                    let alpha = splat(g.alpha);
                    for i in 0..M {
                        for j in 0..N {
                            acc[i][j] = mul(alpha, acc[i][j]);
                        }
                    }
                }
                for i in 0..M {
                    for j in 0..N {
                        let c = g.c.add(i * g.ldc + j * $L);
                        let whole = j + 1 < N || g.last == $L;
                        let v = acc[i][j];
                        let v = match g.add {
                            Add::Nothing => v,
                            Add::Dst => add(if whole { load(c) } else { load_n(c, g.last) }, v),
                            Add::PerRow => add(splat(*g.bias.add(i)), v),
                            Add::PerColumn => {
                                let d = g.bias.add(j * $L);
                                add(if whole { load(d) } else { load_n(d, g.last) }, v)
                            }
                        };
                        if whole { store(c, v) } else { store_n(c, g.last, v) }
                    }
                }
            }
        }

        /// Has the tile's place in memory brought near while the sums are made: from L3 it costs a tenth of a product.
        #[inline]
        $(#[$tf])*
        fn ahead<const M: usize, const N: usize>(g: &GemmArgs<$T>) {
            for i in 0..M {
                let c = g.c.wrapping_add(i * g.ldc);
                fetch(c);
                fetch(c.wrapping_add((N - 1) * $L + g.last - 1));
            }
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
                    for j in 0..N {
                        bv[j] = if PACKED || j + 1 < N { load(b.add(j * $L)) } else { load_n(b.add(j * $L), g.last) };
                    }
                    for i in 0..M {
                        let av = splat(*a.offset(if PACKED { i as isize } else { i as isize * g.a_rs }));
                        for j in 0..N {
                            acc[i][j] = fma(av, bv[j], acc[i][j]);
                        }
                    }
                    a = a.offset(if PACKED { M as isize } else { g.a_ks });
                    b = b.offset(if PACKED { (N * $L) as isize } else { g.b_ks });
                });
                finish(g, acc);
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
                    for j in 0..N {
                        bv[j] = load(b.add(j * $L));
                    }
                    for i in 0..M {
                        let av = splat(*row[i].offset(at));
                        for j in 0..N {
                            acc[i][j] = fma(av, bv[j], acc[i][j]);
                        }
                    }
                    at += g.a_ks;
                    b = b.add(N * $L);
                });
                finish(g, acc);
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
                for j in 0..N {
                    src[j] = *g.src.add(j);
                }
                for j in 0..N {
                    for i in 0..M {
                        fetch((*g.dst.add(j)).wrapping_add(i * g.ms));
                    }
                }
                let (mut a, mut off) = (g.a, g.off);
                repeat!(g.k, {
                    let o = *off as usize;
                    let mut bv = [zero(); N];
                    for j in 0..N {
                        bv[j] = load(src[j].add(o));
                    }
                    for i in 0..M {
                        let av = splat(*a.add(i));
                        for j in 0..N {
                            acc[i][j] = fma(av, bv[j], acc[i][j]);
                        }
                    }
                    a = a.add(M);
                    off = off.add(1);
                });
                // A copy to index: were it the sums themselves, they could end up in memory throughout the loop.
                let acc = acc;
                for j in 0..N {
                    let n = *g.lanes.add(j) as usize;
                    let dst = *g.dst.add(j);
                    for i in 0..M {
                        let c = dst.add(i * g.ms);
                        let v = acc[i][j];
                        let v = match g.add {
                            Add::Nothing | Add::PerColumn => v,
                            Add::Dst => add(if n == $L { load(c) } else { load_n(c, n) }, v),
                            Add::PerRow => add(splat(*g.bias.add(i)), v),
                        };
                        if n == $L { store(c, v) } else { store_n(c, n, v) }
                    }
                }
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
                for j in 0..N {
                    b[j] = *g.b.add(j);
                }
                for r in 0..g.nrows {
                    let (ao, bo) = *g.rows.add(r);
                    let (mut ao, mut bo) = (ao as usize, bo as usize);
                    for _ in 0..g.full {
                        let mut bv = [zero(); N];
                        for j in 0..N {
                            bv[j] = load(b[j].add(bo));
                        }
                        for i in 0..M {
                            let av = load(g.a.add(i * g.a_rs + ao));
                            for j in 0..N {
                                acc[i][j] = fma(av, bv[j], acc[i][j]);
                            }
                        }
                        ao += $L;
                        bo += $L;
                    }
                    if g.tail > 0 {
                        let mut bv = [zero(); N];
                        for j in 0..N {
                            bv[j] = load_n(b[j].add(bo), g.tail);
                        }
                        for i in 0..M {
                            let av = load_n(g.a.add(i * g.a_rs + ao), g.tail);
                            for j in 0..N {
                                acc[i][j] = fma(av, bv[j], acc[i][j]);
                            }
                        }
                    }
                }
                for i in 0..M {
                    for j in 0..N {
                        *g.out.add(i * N + j) = sum(acc[i][j]);
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

/// The table of `conv` kernels: more vectors where rows are few, so that enough sums run side by side.
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
            &[$m::conv::<4, 1>, $m::conv::<4, 2>, $m::conv::<4, 3>],
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
