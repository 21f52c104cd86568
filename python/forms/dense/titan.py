import os
DATA = os.path.join(os.environ["MESHWRIGHT_DATA"], "data", "")
import pandas as pd, numpy as np, core
from core import *
D=pd.read_csv(DATA + 'steptimes/torchtitan.csv')
# PyTorch SDPA (FA2) on H100: 370 forward, 318 backward of FA-3 paper, over the table's 534: .69, .6
def split_products(c,T,tp):
    'torchtitan multiplies by wq, wk, wv, wo, w1, w3, w2 one by one'
    kv=(T,c.g*c.d//tp,c.h)
    return [(T,c.a*c.d//tp,c.h),kv,kv,(T,c.h,c.a*c.d//tp),(T,c.f//tp,c.h),(T,c.f//tp,c.h),(T,c.h,c.f//tp)]
def step(r,K,detail=False):
    dev=H100L; c=L8 if '8b' in r.model else L70
    tech=r.technique; comp='compile' in tech; f8='float8' in tech; roww='rowwise' in tech; asy='async' in tech
    st=dict(fused=comp,attn_f=K.get('fa_f',.69),attn_b=K.get('fa_b',.6))
    hot=K['hot']['h100']*clock(dev)
    tp,cp,s,n=int(r.tp),int(r.cp),int(r.seq),int(r.dp_shard); mb=int(r.micro_batch); T=mb*s//cp
    dt='fp8' if f8 else 'bf16'
    pr=split_products(c,T,tp)
    def P(M,N,KK): 
        t=product(dev,M,N,KK,dt,hot)
        return t*K.get('roww',1.3) if roww else t
    g=[P(*x) for x in pr]; gf=sum(g)
    gb=sum(P(M,KK,N)+P(N,KK,M) for M,N,KK in pr)
    af,ab=attention(dev,c,mb,s,tp,cp,st,hot)
    cpx=1-K.get('cp',.35)*(1-1/cp); af/=cpx; ab/=cpx
    bw=dev.bw*K['em']
    # float8 of torchao: quantising fused by the compiler; rowwise writes both layouts apart in bf16-sized passes
    pf,pb=pointwise(c,T,tp,st,'fp8' if f8 else 'bf16'); pf/=bw; pb/=bw
    pb+=T*c.h/tp*2*3*3/bw   # gradients of the inputs of q, k, v and of w1, w3 added up: three times read 2 write 1
    x=T*c.h*2.
    agb=.5 if (f8 and not roww) else 1.
    ag=collective(dev,tp,x*agb) if tp>1 else 0; rs=collective(dev,tp,x) if tp>1 else 0
    # DTensor gathers and scatters along the sequence, dimension 1: what is gathered is put in order (chunk, cat), read and written once
    if tp>1 and K.get('order',1):
        o=2*x/bw; ag+=o*agb; rs+=o
    cf=2*ag+2*rs; cb=2*ag+2*rs
    if f8 and tp>1:
        el=T*c.h
        if roww: # gathered in 16 bits, so that every tensor rank quantises all of it, by rows and by columns apart
            pf+=2*el*K.get('roww_b',8.)/bw*(1-1/tp); pb+=2*el*K.get('roww_b',8.)/bw*(1-1/tp)
        else:    # gathered in 8 bits; the transposed copy is made of all of it
            pf+=2*el*2./bw; pb+=2*el*2./bw
    if not f8: pass
    ov=K.get('async',.5) if asy else 0
    cf*=1-ov; cb*=1-ov
    # weights cast per use in float8 (no cache): read 2, amax 2, write 1+1
    wq=(6.*c.block_params()/tp/bw) if f8 else 0
    if r.recompute=='full': again=gf+af+pf+cf*K.get('again_c',1.); aga=0
    else:
        # per-op: every second product is kept, fused attention and reduce-scatters too
        kept=[(c.g*c.d*c.h),(c.a*c.d*c.h),c.f*c.h]
        again=gf*(sum(kept)/c.block_params())+pf+2*ag*(1-ov) if K.get('sac',1) else 0
    f=gf+af+pf+cf+wq; b=gb+ab+pb+cb+again+wq
    Wb=2.*c.block_params()/tp
    w8=(.5 if (f8 and tp==1) else 1.)
    hosts=n*tp*cp>8
    grp=n*cp
    if tp>1: # shard group across hosts, stride tp: each rank has a card of its own
        def gat(by): return 30e-6*1+by*(grp-1)/grp/(dev.net*core.NET_SHARE)
    elif grp>8:
        def gat(by): return 30e-6+by*(grp-1)/grp/(dev.net*core.NET_SHARE*8)
    else:
        def gat(by): return collective(dev,grp,by)
    G=gat(Wb*w8); R=gat(Wb*2)      # reduce in fp32
    k=K.get('kappa',.15)
    ef=max(0,G-f)+k*min(G,f); eb=max(0,G+R-b)+k*min(G+R,b)
    f+=ef; b+=eb
    V=c.V//tp
    head=3*product(dev,T,V,c.h,'bf16',hot)+ (K.get('logit',28) if not comp else K.get('logit_c',16))*T*V/bw
    P_=c.params()/(n*tp*cp)
    opt=P_*28/bw
    ends=gat(2*c.V*c.h*2/tp)*1.0+gat(4*c.V*c.h*2/tp)*.5
    tot=c.L*(f+b)+head+opt+ends
    tot*=1+K.get('sigma',0)*np.sqrt(2*np.log(r.gpus))
    if detail: return tot,dict(gemm=(gf+gb)*c.L,att=(af+ab)*c.L,pw=(pf+pb)*c.L,again=again*c.L,tp=(cf+cb)*c.L,fsdp=(ef+eb)*c.L,wq=2*wq*c.L,head=head,ends=ends)
    return tot
def measured(r): return int(r.micro_batch)*int(r.seq)/int(r.cp)/int(r.tp)/r.tokens_per_s_per_gpu
K0=dict(hot=dict(h100=.93),em=.8)
if __name__=='__main__':
    import sys
    print('clock at 500 W',round(clock(H100L),3))
    for _,r in D.iterrows():
        m=measured(r); t,x=step(r,K0,detail=True)
        print(r.model[9:],r.gpus,f'fsdp{r.dp_shard} tp{r.tp} cp{r.cp} mb{r.micro_batch} s{r.seq}',r.technique,'meas %.3f pred %.3f %+.1f%%'%(m,t,100*(t/m-1)),{k:round(v/m,2) for k,v in x.items()})
