import os
DATA = os.path.join(os.environ["MESHWRIGHT_DATA"], "data", "")
import pandas as pd, numpy as np, core
from core import *
from scipy.optimize import least_squares
d=pd.read_csv(DATA + 'steptimes/megatron_golden.csv')
for c in 'tp pp cp ep etp micro_batch global_batch layers hidden heads kv_groups seq experts topk moe_ffn ffn vpp vpp_layers'.split(): d[c]=pd.to_numeric(d[c],errors='coerce')
d['plat']=d.platform.fillna('')
d['gen']=np.where(d.plat.str.contains('gb200'),'gb200',np.where(d.plat.str.contains('h100'),'h100','a100'))
d['one']=d.case.str.contains('_1no')
d['world']=np.where((d.gen=='gb200')&d.one,4,8)
for c in ('tp','pp','cp','ep'): d[c]=d[c].fillna(1)
d['dp']=(d.world/(d.tp*d.pp*d.cp)).clip(lower=1); d['mb']=d.micro_batch.fillna(1); d['m']=d.global_batch/(d.dp*d.mb); d['Lr']=d.layers/d.pp; d['moe']=d.experts>0
ok=d[['m','Lr','hidden','seq','iter_s_median']].notna().all(axis=1)&~d.case.str.contains('grpo')&(d.family.isin(['gpt','moe']))
g=d[ok].reset_index(drop=True); t=g.iter_s_median.values
big=t>0.3; odd=(g.one|(g.plat=='dgxh100_dgxc')).values
DEVS={'a100':core.A100,'h100':core.H100,'gb200':core.GB200}
ST=dict(fused=True,attn_f=1.1,attn_b=.95)
def devtime(r):
    dev=DEVS[r.gen]; h=int(r.hidden); a=int(r.heads if r.heads==r.heads else h//64); kv=int(r.kv_groups) if r.kv_groups==r.kv_groups else a
    f=int(r.ffn if r.ffn==r.ffn else 4*h); gated='7b' in r.case or 'swiglu' in r.case
    if r.moe: f=int((r.moe_ffn if r.moe_ffn==r.moe_ffn else f)*max(1,r.topk if r.topk==r.topk else 1))
    V=51200; c=Card(h,f,int(r.layers),a,kv,V,gated=gated); tp=int(r.tp); T=int(r.mb*r.seq/r.cp)
    hot=.87 if r.gen!='gb200' else .83
    pr=products(c,T,tp); gf=sum(product(dev,*x,'bf16',hot) for x in pr); gb=sum(product(dev,M,K,N,'bf16',hot)+product(dev,N,K,M,'bf16',hot) for M,N,K in pr)
    af,ab=attention(dev,c,max(1,int(r.mb)),int(r.seq),tp,int(r.cp),ST,hot); pf,pb=pointwise(c,T,tp,ST,'bf16'); bw=dev.bw*.8
    x=collective(dev,tp if tp in dev.nv_busbw or tp==1 else 4,T*h*2.)*8 if tp>1 else 0
    lay=gf+gb+af+ab+(pf+pb)/bw+10*c.block_params()/tp/bw+x
    head=3*product(dev,T,V//tp,h,'bf16',hot)+16.*T*V/tp/bw
    P=(c.L*c.block_params()/r.pp+2*V*h)/tp
    return lay,head,P*34/bw+P*6/dev.nv_busbw[8]*.2*(r.dp>1)
DT=np.array([devtime(r) for _,r in g.iterrows()])
m,Lr,pp,tp,cp=(g[c].values for c in ('m','Lr','pp','tp','cp')); moe=g.moe.values; ep=g.ep.values; etp=np.where(g.etp.notna(),g.etp,g.tp).astype(float)
vv=np.where(g.vpp_layers.notna()&(pp>1),np.maximum(1,Lr/g.vpp_layers.fillna(1).replace(0,1)),np.where(pp>1,g.vpp.fillna(1),1.)); rec=np.where(g.recompute.fillna('')=='full',1.33,1.)
names=['layer','tensor','context','experts','exchange','expert tensor','micro-batch','p2p','step']
F=np.stack([np.ones(len(g)),tp>1,cp>1,moe,moe*(ep>1),moe*(etp>1)],1)
P0=np.log([2.5e-3,1.2e-3,1.2e-3,2.5e-3,1e-3,1e-3,3e-3,3e-3,3e-2]); SD=np.full(9,.7)
def pred(x,i):
    v=np.exp(x); host=F[i]@v[:6]*rec[i]
    lay=np.maximum(host,DT[i,0]); mb=np.maximum(v[6]+v[7]*(pp[i]>1)*vv[i],DT[i,1])
    return m[i]*(Lr[i]*lay+mb)+(pp[i]-1)*(Lr[i]*lay/vv[i]+v[7])+v[8]+DT[i,2]
def fit(i):
    f=lambda x: np.concatenate([np.log(pred(x,i)/t[i])/.2,(x-P0)/SD])
    return least_squares(f,P0,loss='soft_l1',max_nfev=60).x
def line(n,e): e=np.exp(e)-1; print(f'{n:52s} {len(e):4d} signed {100*e.mean():+.1f} mean {100*abs(e).mean():.1f} median {100*np.median(abs(e)):.1f} p90 {100*np.quantile(abs(e),.9):.0f} worst {100*abs(e).max():.0f}')
A=np.arange(len(g))
print(len(g),'rows',big.sum(),'over 0.3 s; host-bound by form:',round(float(((F@np.exp(P0[:6]))>DT[:,0])[big].mean()),2))
line('nothing fitted (counts of launches guessed)',np.log(pred(P0,A)/t)[big]); line('  usual hosts',np.log(pred(P0,A)/t)[big&~odd])
for lab,sel in (('fitted on rows over 0.3 s',big&~odd),('fitted on all rows',~odd)):
    x=fit(A[sel]); e=np.log(pred(x,A)/t); print(lab,{n:round(1e3*float(v),2) for n,v in zip(names,np.exp(x))}); line(' in sample, all over 0.3',e[big]); line('   usual hosts',e[big&~odd])
    lo=np.zeros(len(g))
    for p in g.plat.unique():
        j=(g.plat==p).values; x=fit(A[sel&~j]); lo[j]=np.log(pred(x,A[j])/t[j])
    line(' platform left out, all over 0.3',lo[big]); line('   usual hosts',lo[big&~odd]); line('   1node, dgxc',lo[big&odd])
    for p in g.plat.unique():
        j=(g.plat==p).values&big&~odd
        if j.sum(): line('     '+(p or '(blank)'),lo[j])
    l2=np.zeros(len(g))
    for p in g.gen.unique():
        j=(g.gen==p).values; x=fit(A[sel&~j]); l2[j]=np.log(pred(x,A[j])/t[j])
    line(' generation left out, all',l2[big]); line('   usual hosts',l2[big&~odd])
w=g[big&~odd].assign(e=100*(np.exp(lo[big&~odd])-1)).sort_values('e'); print(w[['case','plat','m','Lr','iter_s_median','e']].iloc[list(range(10))+list(range(-6,0))].to_string(max_colwidth=85))
