import numpy as np
import io, contextlib
def row(n,w,e):
    e=np.exp(np.asarray(e))-1
    print(f'| {n} | {w} | {len(e)} | {100*e.mean():+.1f} | {100*abs(e).mean():.1f} | {100*np.median(abs(e)):.1f} | {100*abs(e).max():.1f} | {100*np.quantile(e,.1):+.0f}..{100*np.quantile(e,.9):+.0f} |',flush=True)
with contextlib.redirect_stdout(io.StringIO()):
    import neusfit as N
m=N.m
for w,e in (('nothing fitted',N.ev(N.KK(np.zeros(6))[0],N.D)),('model left out',N.e),('in sample',N.ev(N.KK(N.fit(N.D))[0],N.D))):
    row('NeuSight inference',w,e[m]); row('NeuSight training',w,e[~m])
# ablations
def ab(n,src,dst):
    import neus,types
    s=open('neus.py').read(); assert src in s,src
    ns={'__name__':'x'}; exec(s.replace(src,dst),ns)
    e=np.array([np.log(ns['step'](r,N.KK(np.zeros(6))[0])*1e3/r.measured_ms) for _,r in N.D.iterrows()]); row('  '+n,'inf',e[m]); row('  '+n,'train',e[~m])
ab('gelu_new as one kernel',"(72 if not bert else 8)","8")
ab('no permuted copies',"(24+8)*h/tp","0*h/tp")
ab("scores of today's (9 x 2 bytes)","(8+9+8 if not bert else 8+8+8)","17")
ab('pointwise at 0.75',"dev[1]*K['em']","dev[1]*.75")
ab('derated 0.9',"R=pk*K['ec'][g]","R=pk*K['ec'][g]*.9")
ab('head for BERT inference',"hd=gemm(dev,T,h,h,K)+gemm(dev,T,V,h,K) if train else 0","hd=gemm(dev,T,h,h,K)+gemm(dev,T,V,h,K)")
with contextlib.redirect_stdout(io.StringIO()):
    import goldfit2 as G
b=G.big; u=G.big&~G.odd
def lo():
    l=np.zeros(len(G.g))
    for p in G.g.plat.unique():
        j=(G.g.plat==p).values; x=G.fit(G.A[~G.odd&~j]); l[j]=np.log(G.pred(x,G.A[j])/G.t[j])
    return l
for w,e in (('nothing fitted',np.log(G.pred(G.P0,G.A)/G.t)),('platform left out',lo()),('in sample',np.log(G.pred(G.fit(G.A[~G.odd]),G.A)/G.t))):
    row('golden >0.3 s, all',w,e[b]); row('golden >0.3 s, usual hosts',w,e[u])
    row('   dense, all',w,e[b&~G.moe.astype(bool)])
import mem
for w,f in (('nothing fitted',1.03),):
    row('torchtitan memory',w,[np.log(mem.peak(r,f)/r.peak_mem_gib) for _,r in mem.D.iterrows()])
