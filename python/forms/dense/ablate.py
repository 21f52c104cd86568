import fit as F, core, bridge, mcore, titan, numpy as np, copy
from fit import *
import fit as F
nom={n:PR[n][0] for n in PR}
def show(name,which='bmt'):
    e,f,g=F.errs(nom)
    s='%-46s'%name
    for k,x in zip('bmt',(e,f,g)):
        if k in which: x=np.exp(x)-1; s+=' | %s signed %+.1f median %.1f worst %.1f'%({'b':'Bridge','m':'MCore','t':'titan'}[k],100*x.mean(),100*np.median(abs(x)),100*abs(x).max())
    print(s,flush=True)
show('all forms, nothing fitted')
# A
P=core.product
def bf(dev,m,n,k,dt,hot,launch=None): return P(dev,m,n,k,'bf16',hot)
for M in (bridge,titan): M.product=bf
show('products of fp8 and fp4 at the bf16 rate','bt')
for M in (bridge,titan): M.product=P
C=dict(core.CAST); core.CAST.clear(); core.CAST.update({k:(0,0) for k in C}); show('no casts','bt'); core.CAST.update(C)
A=core.attention
def flat(dev,c,b,s,tp,cp,st,hot):
    fl=2.*b*s*s*(c.a/tp)*c.d/cp; r=dev.peak['bf16']*.45*hot
    return fl/r,2.5*fl/r
for M in (bridge,mcore,titan): M.attention=flat
show('attention at flat 45 % of the bf16 peak')
for M in (bridge,mcore,titan): M.attention=A
def te(dev,c,b,s,tp,cp,st,hot): return A(dev,c,b,s,tp,cp,dict(attn_f=1.,attn_b=1.),hot)
for M in (bridge,mcore,titan): M.attention=te
show('attention as the table, backward alike')
for M in (bridge,mcore,titan): M.attention=A
W=core.pointwise
def today(c,T,tp,st,dt):
    sh=.5 if st['fused'] else 1; w=c.f*(1.5 if c.gated else 1)
    q=core.CAST.get(dt,(0,0)); qf=3*c.h+c.f; qb=(c.a+2*c.g)*c.d+c.h+(2 if c.gated else 1)*c.f+c.h
    return (sh*(26*c.h+4*w)+q[0]*qf)*T/tp,(sh*(52*c.h+6*w)+q[1]*qb)*T/tp
for M in (bridge,mcore,titan): M.pointwise=today
show("pointwise bytes of today's form (x 0.5 fused)")
for M in (bridge,mcore,titan): M.pointwise=W
K0=F.K
def Kx(**kw):
    def k(th): d=K0(th); d.update(kw); return d
    return k
for n,kw in (('tensor collectives all exposed',dict(tp_exp=1.)),('no recompute of 5 blocks (H100 8B recipe)',dict(recipe=0)),('torchtitan: order of gathers left out',dict(order=0)),('torchtitan: per-op recompute left out',dict(sac=0)),('rowwise products at the fp8 rate',dict(roww=1.)),('rowwise quantised once, not per rank',dict(roww_b=0.)),('pointwise at 0.75 of the bandwidth',dict(em=.75)),('torchtitan: SDPA at the table rate',dict(fa_f=1.,fa_b=1.)),('logits 28 B','' )):
    if kw=='' : continue
    F.K=Kx(**kw); show(n,{'t':'t'}.get('t') if 'torchtitan' in n or 'rowwise' in n else 'bmt')
F.K=K0
for n,th in (('derating 1',dict(h=1.,bl=1.)),('H100 at 500 W without the clock form',dict(pow=1e9)),('clock form cubic',dict(pow=3.)),('clock form linear',dict(pow=1.)),('straggler term 1 % sqrt(2 ln N)',dict(sigma=.01)),('context split full rate',dict(cp=1e-9)),('async TP hides nothing',dict(asy=1e-9))):
    sv=dict(nom); nom.update(th); show(n); nom.clear(); nom.update(sv)
S=titan.split_products; titan.split_products=core.products; show('torchtitan: products fused as in Megatron','t'); titan.split_products=S
core.KAPPA.update({k:0 for k in core.KAPPA}); show('no slowdown beside communication')
