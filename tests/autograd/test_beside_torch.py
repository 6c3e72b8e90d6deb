"""Small autograd programs with PyTorch and rustnn side by side: hooks, views, Function, func, forward mode."""

# ruff: noqa: E501  (programs of one line each)

from __future__ import annotations

from typing import Any

import beside
import numpy as np
import pytest
import rustnn
import rustnn.autograd.forward_ad
import rustnn.utils.checkpoint

torch = pytest.importorskip("torch", reason="compares with PyTorch")
pytest.importorskip("torch.autograd.forward_ad")
pytest.importorskip("torch.utils.checkpoint")

# `t` makes leaves, `n` tensors without gradient; a program leaves its outcome in R.
PROGRAMS = r"""
x=t(3,4); y=x*2; y.retain_grad(); y.sum().backward(); y.grad.add_(1); R=(x.grad,y.grad)
x=t(3); x.register_hook(lambda g:g*2); x.register_hook(lambda g:g+1); (x*x).sum().backward(); R=x.grad
x=t(3); L=[]; y=x*2; y.register_hook(lambda g:L.append(1)); y.retain_grad(); y.register_hook(lambda g:g*3); (y*y).sum().backward(); R=(L,y.grad,x.grad)
x=t(3); x.register_hook(lambda g:torch.ones(4)); x.sum().backward()
x=t(3); x.register_post_accumulate_grad_hook(lambda p:p.grad.mul_(3)); x.sum().backward()
x=t(3); L=[]; x.register_post_accumulate_grad_hook(lambda p:L.append(p.grad.clone())); x.sum().backward(); R=L
x=t(3); y=x*x; y.grad_fn.register_hook(lambda gi,go:(gi[0]*2,gi[1])); y.sum().backward(); R=x.grad
x=t(3); y=x*x; y.grad_fn.register_hook(lambda gi,go:(gi[0],)); y.sum().backward(); R=x.grad
x=t(3); y=x*2; y.grad_fn.register_prehook(lambda go:(go[0]*5,)); y.sum().backward(); R=x.grad
x=t(3); y=x*2; h=y.grad_fn.register_prehook(lambda go:(go[0]*5,)); h.remove(); y.sum().backward(); R=x.grad
x=t(3,4); y=x*1; v=y.t(); v[1]=5; (y*y).sum().backward(); R=(x.grad,v)
x=t(3,4); y=x*1; v=y[0]; w=v[1:3]; w.mul_(3); y.sum().backward(); R=(x.grad,y,v,w)
x=t(4,4); y=x.clone(); a,b=y.chunk(2); a.mul_(2)
x=t(3); x.data=torch.ones(3,dtype=torch.int64)
x=t(3); x.sum().backward(); del x.grad; R=x.grad
x=t(3); torch.autograd.grad(x.sum(),[])
x=t(3); y=t(3); R=torch.autograd.grad(x.sum(),[x,y],materialize_grads=True)
x=t(3); R=torch.autograd.grad((x*x,x.sum()),x,(torch.eye(3),torch.ones(3)),is_grads_batched=True)
x=n(3); R=torch.func.jvp(lambda a:torch.func.jvp(lambda b:b**3,(a,),(torch.ones(3),))[1],(x,),(n(3),))
x=n(3); R=torch.func.grad(lambda a:torch.func.jvp(lambda b:b**3,(a,),(torch.ones(3),))[1].sum())(x)
x=n(3); R=torch.func.grad(lambda a:torch.func.vjp(lambda b:b**3,a)[1](torch.ones(3))[0].sum())(x)
x=n(3); R=torch.func.jvp(lambda a:(a**2,a),(x,),(n(3),),has_aux=True)
x=n(3); R=torch.func.jvp(lambda d:{'y':d['a']*d['b'][0]},({'a':x,'b':[n(3)]},),({'a':n(3),'b':[n(3)]},))
x=n(3); R=torch.func.jvp(lambda a:a,(x,),(n(2),))
x=n(3); R=torch.func.jvp(lambda a:a,x,x)
x=n(3); f,l=torch.func.linearize(lambda a:a**2,x); R=(f,l(n(3)),l(n(3)))
x=n(3); R=torch.func.jacrev(lambda a:(a**2,a),has_aux=True)(x)
x=n(3); f=torch.func.vjp(lambda a:(a**2,a),x,has_aux=True); R=(f[0],f[1](n(3)),f[2])
x=n(3,4); R=torch.vmap(lambda d:d['a']*2)({'a':x})
x=n(3,4); R=torch.vmap(lambda a,b:(a*b,a),in_dims=(0,None))(x,2.)
x=n(3,4); R=torch.vmap(lambda a:{'u':a,'v':(a,a)},out_dims={'u':1,'v':(0,1)})(x); R=[w.contiguous() for w in (R['u'],*R['v'])]
x=n(3,4); R=torch.vmap(lambda a:a)(x[0,0])
x=n(3,4); R=torch.vmap(lambda a:a,in_dims=5)(x)
x=n(3,4); R=torch.vmap(lambda a:1)(x)
x=n(3,4); R=torch.vmap(lambda a,b:a*b)(x,n(2))
x=t(3); L=[]; h=torch.autograd.graph.saved_tensors_hooks(lambda a:(L.append(a.shape),a*2)[1],lambda a:a); h.__enter__(); y=x*x; h.__exit__(); y.sum().backward(); R=(x.grad,len(L))
x=t(3); h=torch.autograd.graph.saved_tensors_hooks(lambda a:a,lambda a:a); h.__enter__(); y=x.sin()*x.exp(); h.__exit__(); g=torch.autograd.grad(y.sum(),x,create_graph=True)[0]; R=torch.autograd.grad(g.sum(),x)
x=t(3); torch.utils.checkpoint.checkpoint(lambda a,b:(a.sin()*b,a),x,2,use_reentrant=True)[0].sum().backward(); R=x.grad
x=t(3); torch.utils.checkpoint.checkpoint(lambda a:a.sin(),x,use_reentrant=False).sum().backward(); R=x.grad
x=t(3); y=torch.utils.checkpoint.checkpoint(lambda a:(a*a).sin(),x,use_reentrant=False); g=torch.autograd.grad(y.sum(),x,create_graph=True)[0]; R=torch.autograd.grad(g.sum(),x)
""".strip().splitlines()

# (forward, backward, use) of a Function F
FUNCTIONS = [
    ("a.add_(1); ctx.mark_dirty(a); return a", "return g[0]*7", "z=x*1; v=F.apply(z); z.sum().backward(); R=(x.grad,z,v is z)"),
    ("a.add_(1); ctx.mark_dirty(a); return a", "return g[0]*7", "z=x*1; w=z[:2]; v=F.apply(w); z.sum().backward(); R=(x.grad,z,w)"),
    ("a.add_(1); ctx.mark_dirty(a); return a", "return g[0]*7", "z=x*1; w=z[:2]; F.apply(w); (w*w).sum().backward(); R=(x.grad,z)"),
    ("ctx.save_for_backward(a); return a*a,a", "return g[0]*2*ctx.saved_tensors[0]+g[1]", "p,q=F.apply(x); (p.sum()+q.sum()).backward(); R=x.grad"),
    ("return 3", "return None", "R=F.apply(x)"),
    ("return {'a':a*2}", "return None", "R=F.apply(x)"),
    ("return a*2,3,'k',None", "return g[0]", "R=F.apply(x)[1:]"),
]  # fmt: skip

DUALS = """
d*d|d.sin()+2|d@W|torch.nn.functional.conv1d(d[None,None],K)|d.softmax(-1)|d.cumsum(0)|torch.cat([d,d*2])|d[1:]
d.sort()[0]|torch.nn.functional.layer_norm(d,(3,))|torch.nn.functional.gelu(d)|d.prod()|torch.linalg.norm(d)
d.reshape(3,1)@d.reshape(1,3)|d.clone().mul_(d)|x*2|torch.stack([d,x])|torch.einsum('i,j->ij',d,d)|(d>0).float()
d.detach()|d.exp().log1p()|torch.where(d>0,d,-d)|d.double()|d.max()|d.std()|torch.nn.functional.mse_loss(d,x)
torch.nn.functional.cross_entropy(d,torch.tensor(1))|d.expand(2,3)
""".strip().replace("\n", "|").split("|")


def program(source: str) -> Any:
    def code(lib: Any) -> Any:
        rng = np.random.default_rng(5)

        def n(*shape: int) -> Any:
            return beside.tensor(lib, beside.draw(rng, shape, "float32"), "float32")

        names: dict[str, Any] = {"torch": lib, "n": n, "t": lambda *s: n(*s).requires_grad_(), "R": None}
        lib.manual_seed(3)
        exec(source, names)
        return names["R"]

    return code


@pytest.mark.parametrize("source", PROGRAMS)
def test_programs(source: str) -> None:
    assert beside.compare(rustnn, torch, program(source)) is None


@pytest.mark.parametrize(("forward", "backward", "use"), FUNCTIONS)
def test_functions(forward: str, backward: str, use: str) -> None:
    source = f"""
class F(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a): {forward}
    @staticmethod
    def backward(ctx, *g): {backward}
x = t(3)
{use}
"""
    assert beside.compare(rustnn, torch, program(source)) is None


@pytest.mark.parametrize("source", DUALS)
def test_forward_mode(source: str) -> None:
    body = "d=f.make_dual(x,n(3)); u=f.unpack_dual(" + source + "); R=(u.primal.detach(),u.tangent)"
    text = "f=torch.autograd.forward_ad; x,W,K=n(3),n(3,2),n(1,1,2)\nwith f.dual_level():\n  " + body
    assert beside.compare(rustnn, torch, program(text), strides=False) is None


@pytest.mark.parametrize("source", [
    "x=t(2); v=t(2)\nwith f.dual_level():\n  d=f.make_dual(x,v); f.unpack_dual(d**3).tangent.sum().backward()\nR=(x.grad,v.grad)",
    "with f.dual_level():\n  a=f.make_dual(n(2),n(2)); b=f.make_dual(n(2),n(2)); R=(f.unpack_dual(a*b).tangent,f.unpack_dual(a+1).tangent)",
    "f.make_dual(n(2),n(2))",
    "with f.dual_level(): f.make_dual(n(2),n(3))",
    "with f.dual_level():\n  with f.dual_level(): pass",
    "f.exit_dual_level()",
    "R=f.unpack_dual(n(2)).tangent",
    "g=torch.autograd.graph\nwith g.disable_saved_tensors_hooks('no'):\n  with g.saved_tensors_hooks(id,id): pass",
])  # fmt: skip
def test_levels(source: str) -> None:
    assert beside.compare(rustnn, torch, program("f=torch.autograd.forward_ad\n" + source)) is None


def test_no_tangent_is_lost_silently() -> None:
    from rustnn.autograd import forward_ad

    with forward_ad.dual_level(), rustnn.no_grad(), pytest.raises(NotImplementedError, match="no_grad"):
        forward_ad.make_dual(rustnn.ones(2), rustnn.ones(2))
    with forward_ad.dual_level():
        d = forward_ad.make_dual(rustnn.ones(2), rustnn.ones(2))
        with rustnn.no_grad(), pytest.raises(NotImplementedError, match="no_grad"):
            forward_ad.unpack_dual(d * 2)
