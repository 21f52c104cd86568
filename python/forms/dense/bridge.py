import os
DATA = os.path.join(os.environ["MESHWRIGHT_DATA"], "data", "")
import pandas as pd, numpy as np, sys, core
from core import *
def rows():
    d=pd.read_csv(DATA + 'steptimes/megatron_bridge.csv')
    d=d[d.model.str.startswith('LLAMA3')]
    alias={'FP8-CS':'FP8','FP8-MX':'MXFP8'}
    d['precision']=d.precision.replace(alias)
    key=['system','model','gpus','precision','gbs','mbs','seq','fsdp','tp','pp','cp','vp']
    d['vp']=d.vp.fillna(1).replace('n/a',1).astype(int)
    d['fsdp']=d.fsdp.astype(int)
    d['rel']=d.release.str.split().str[0]
    d=d.sort_values('rel',ascending=False,kind='stable').drop_duplicates(key)
    return d.reset_index(drop=True)
DEV={'DGX-H100':H100,'DGX-B200':B200,'DGX-GB200':GB200}
ST=dict(fused=True,attn_f=1.1,attn_b=.95)
def step(r,K,st=ST,detail=False):
    dev=DEV[r.system]; c=L8 if '8B' in r.model else L70
    dt={'FP8':'fp8','MXFP8':'fp8_block','NVFP4':'nvfp4'}[r.precision]
    hop=r.system=='DGX-H100'
    qk=dt if not (dt=='fp8' and not hop) else 'fp8_b'
    hot=K['hot'][dev.name]*clock(dev)
    tp,pp,v=int(r.tp),int(r.pp),int(r.vp); dp=int(r.gpus)//(tp*pp); m=int(r.gbs)//dp//int(r.mbs); s=int(r.seq); T=int(r.mbs)*s
    pr=products(c,T,tp)
    if K.get('mx_as_fp8') and dt=='fp8_block': gd='fp8'
    else: gd=dt
    gf=sum(product(dev,M,N,KK,gd,hot) for M,N,KK in pr)
    gb=sum(product(dev,M,KK,N,gd,hot)+product(dev,N,KK,M,gd,hot) for M,N,KK in pr)
    af,ab=attention(dev,c,int(r.mbs),s,tp,1,st,hot)
    pf,pb=pointwise(c,T,tp,st,qk if K.get('quant',1) else 'bf16')
    bw=dev.bw*K['em']
    add=10*c.block_params()/tp/bw     # wgrad accumulated (bf16 read, fp32 main grad read+write); fused in the GEMM epilogue: 8
    pf,pb=pf/bw,pb/bw+add
    ag=collective(dev,tp,T*c.h*1.*(1 if dt!='nvfp4' else 2)); rs=collective(dev,tp,T*c.h*2.)
    ov=K.get('tp_overlap',1) and dt!='nvfp4'
    def expo(x): return x*K.get('tp_exp',.3) if ov else x
    tf=2*expo(ag)+2*expo(rs); tb=2*expo(ag)+2*expo(rs)
    f=gf+af+pf+tf; b=gb+ab+pb+tb
    if r.fsdp:
        n=int(r.fsdp); w=1. if gd!='nvfp4' else 2.
        if K.get('gather_b'): w=K['gather_b']
        g=collective(dev,n,w*c.block_params()); rsx=collective(dev,n,2.*c.block_params())
        k=core.KAPPA[dev.name]
        f+=max(0,g-f)+k*min(g,f); b+=max(0,g+rsx-b)+k*min(g+rsx,b)
    if r.system=='DGX-H100' and '8B' in r.model and K.get('recipe'): b+=f*5/32
    V=c.V//tp
    head=3*product(dev,T,V,c.h,'bf16',hot)+16.*T*V/bw
    emb=12.*T*c.h/tp/bw
    Lr=c.L//pp
    t=Lr*(f+b); tl=t+head
    first=t+emb
    mx=max(t,tl,first)
    bub=(pp-1)*(t/v)
    P=(c.L*c.block_params()/pp+c.V*c.h*(2 if pp==1 else 1))/tp
    opt=P/(dp)*34/bw
    if dp>1 and not r.fsdp:
        ex=collective(dev,dp,2*P) if (dev.per_host>=72 or tp*pp*dp<=dev.per_host) else across(dev,dp*tp,2*P*tp)/1.
        dpx=2*ex*(1-0.9)
    else: dpx=0
    tot=m*mx+bub+opt+dpx
    tot*=1+K.get('sigma',0)*np.sqrt(2*np.log(r.gpus))
    if detail: return tot,dict(gemm=(gf+gb)*Lr*m,att=(af+ab)*Lr*m,pw=(pf+pb)*Lr*m,tp=(tf+tb)*Lr*m,head=head*m,bub=bub,opt=opt,dp=dpx,fb=(f+b)*Lr*m)
    return tot
K0=dict(hot=dict(h100=1.,b200=1.,gb200=1.),em=.8,recipe=1)
if __name__=='__main__':
    d=rows(); 
    for _,r in d.iterrows():
        meas=r.gbs*r.seq/(r.tokens_per_s_per_gpu*r.gpus)
        t,x=step(r,K0,detail=True)
        print(r.rel,r.system[4:],r.model[7:],r.precision,'gbs',r.gbs,'mbs',r.mbs,'fsdp',r.fsdp,f'tp{r.tp} pp{r.pp} vp{r.vp}', 'meas %.3f pred %.3f err %+.1f%%'%(meas,t,100*(t/meas-1)),{k:round(v/meas,3) for k,v in x.items()})
