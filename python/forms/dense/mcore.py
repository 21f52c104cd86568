import os
DATA = os.path.join(os.environ["MESHWRIGHT_DATA"], "data", "")
import pandas as pd, numpy as np, core
from core import *
ST=dict(fused=True,attn_f=1.1,attn_b=.95)
D=pd.read_csv(DATA + 'steptimes/megatron_core_h100.csv')
def flops(r):
    return 72.*r.gbs*r.seq*r.layers*r.hidden**2*(1+r.seq/(6.*r.hidden)+r.vocab/(12.*r.layers*r.hidden))
def measured(r): return flops(r)/(r.tflops_per_gpu*1e12*r.gpus)
def step(r,mbs,v,K,st=ST,detail=False):
    dev=H100; c=Card(int(r.hidden),4*int(r.hidden),int(r.layers),int(r.heads),int(r.heads),int(r.vocab),gated=False)
    hot=K['hot']['h100']; tp,pp,dp,s=int(r.tp),int(r.pp),int(r.dp),int(r.seq); m=int(r.gbs)//dp//mbs; T=mbs*s
    pr=products(c,T,tp); dt='bf16'
    gf=sum(product(dev,M,N,KK,dt,hot) for M,N,KK in pr)
    gb=sum(product(dev,M,KK,N,dt,hot)+product(dev,N,KK,M,dt,hot) for M,N,KK in pr)
    af,ab=attention(dev,c,mbs,s,tp,1,st,hot)
    pf,pb=pointwise(c,T,tp,st,dt); bw=dev.bw*K['em']
    pf,pb=pf/bw,pb/bw+10*c.block_params()/tp/bw
    x=collective(dev,tp,T*c.h*2.)
    k=core.KAPPA['h100']
    e=x*K.get('tp_exp',.3)
    tf=tb=4*e if tp>1 else 0
    f=max(gf+af+pf+tf,K.get('floor',0)); b=max(gb+ab+pb+tb,2*K.get('floor',0))
    V=c.V//tp
    head=3*product(dev,T,V,c.h,dt,hot)+16.*T*V/bw
    t=c.L/pp*(f+b); mx=t+head
    bub=(pp-1)*t/v+(pp>1)*0
    P=(c.L*c.block_params()/pp+c.V*c.h*(2 if pp==1 else 1))/tp
    opt=P/dp*34/bw
    # gradients fp32 reduce-scatter, bf16 gather; one card per GPU, overlapped with last backward / first forward
    net=dev.net*K.get('net',.85)
    rs=4*P/net; ag=2*P/net
    hid_b=(2/3)*t; hid_f=t/3
    dpx=max(0,rs-hid_b*.9)+max(0,ag-hid_f*.9)+K.get('kdp',.15)*(min(rs,hid_b)+min(ag,hid_f)) + (rs+ag)*K.get('dp_exp',.1)
    # p2p of interleaving: exposed start-ups only
    p2p=0
    if pp>1:
        by=T*c.h*2./tp
        one=by/net+30e-6
        p2p=(pp-1)*2*one + (m*v*2*one*K.get('p2p_exp',.0) if v>1 else m*2*one*K.get('p2p_exp1',0.5))
    tot=m*mx+bub+opt+dpx+p2p
    tot*=1+K.get('sigma',0)*np.sqrt(2*np.log(max(2,r.gpus)))
    if detail: return tot,dict(gemm=(gf+gb)*c.L/pp*m,att=(af+ab)*c.L/pp*m,pw=(pf+pb)*c.L/pp*m,tp=(tf+tb)*c.L/pp*m,head=head*m,bub=bub,opt=opt,dp=dpx,p2p=p2p)
    return tot
def choices(r):
    per=int(r.gbs)//int(r.dp); pp=int(r.pp)
    for mbs in (1,2,4,8):
        if per%mbs: continue
        # memory: activations of 34 s b h /tp per layer, in flight pp(+v) ; 80 GB
        vs=[1]+([x for x in range(2,17) if (r.layers//pp)%x==0 and r.layers%pp==0 and (per//mbs)%pp==0] if pp>1 else [])
        for v in vs:
            P=(r.layers*12*r.hidden**2/pp+r.vocab*r.hidden)/r.tp
            st=P*(6+12/r.dp)
            inflight=min(per//mbs, pp if v==1 else pp+ (pp-1)/v)
            act=34*mbs*r.seq*r.hidden/r.tp*(r.layers/pp)*inflight+ (r.seq*mbs*r.vocab/r.tp*8)
            if st+act<75e9: yield mbs,v
def chosen(r,K,st=ST): return min(((step(r,mb,v,K,st),mb,v) for mb,v in choices(r)))
K0=dict(hot=dict(h100=.93),em=.8)
if __name__=='__main__':
    for _,r in D.iterrows():
        t,mb,v=chosen(r,K0); m=measured(r); x=step(r,mb,v,K0,detail=True)[1]
        print(r.model,'meas %.3f'%m,'chosen mb',mb,'v',v,'pred %.3f %+.1f%%'%(t,100*(t/m-1)),{k:round(q/m,3) for k,q in x.items()}, [(a,b,round(100*(step(r,a,b,K0)/m-1),1)) for a,b in choices(r)][:12])
