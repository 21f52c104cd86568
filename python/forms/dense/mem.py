import os
DATA = os.path.join(os.environ["MESHWRIGHT_DATA"], "data", "")
from core import *
import pandas as pd, numpy as np
D=pd.read_csv(DATA + 'steptimes/torchtitan.csv'); D=D[D.peak_mem_gib.notna()]
def parts(r,logit=16.,logit_tp=22.):
    c=L8 if '8b' in r.model else L70; tp,cp,n=int(r.tp),int(r.cp),int(r.dp_shard); T=int(r.micro_batch)*int(r.seq)//cp
    comp='compile' in r.technique; f8='float8' in r.technique
    st=16.*c.params()/(n*tp*cp)
    if r.recompute=='full': kept=2.*c.h*T/tp*c.L
    else: # per op: block input, q, v, attention output and its log-sum (4 a), w1, w2 kept; k, wo, w3 made again
        kept=c.L*T*(2.*c.h+ (2.*c.a*c.d+2.*c.g*c.d+2.*c.a*c.d+4*c.a+2.*c.f+2.*c.h)/tp)
    lg=(logit if tp==1 else logit_tp)*T*c.V/tp
    kv=(c.a+2*c.g)*c.d
    again=T*(2.*c.h*2+ (2.*(6*c.h)+2.*kv*2+2.*c.f*5)/tp)   # one block whole, gathered inputs of both halves
    if not comp: again*=1.3
    W=c.block_params()/tp
    un=2*(2.*W)+2.*W+4.*W*0 + 2.*2*c.V*c.h/tp/1   # two gathered blocks, gradient of one, embedding and head gathered
    return st,kept,lg,again,un
def peak(r,frag=1.03,**k):
    st,kept,lg,again,un=parts(r,**k)
    return (st+un+kept+max(lg,again)+ (0 if 'compile' in r.technique else .15*lg))*frag/2**30
if __name__=='__main__':
    for frag in (1.,1.03):
        e=np.array([peak(r,frag)/r.peak_mem_gib-1 for _,r in D.iterrows()]); print('frag',frag,'mean %.1f signed %.1f lowest %.1f highest %.1f'%(100*abs(e).mean(),100*e.mean(),100*e.min(),100*e.max()))
    for _,r in D.iterrows(): print(r.model[9:],r.gpus,f'tp{r.tp} cp{r.cp} mb{r.micro_batch} s{r.seq}',r.technique,r.peak_mem_gib,'%.1f %+.1f%%'%(peak(r),100*(peak(r)/r.peak_mem_gib-1)),[round(x/2**30,1) for x in parts(r)])
    e=np.array([peak(r,1.03,logit_tp=16)/r.peak_mem_gib-1 for _,r in D.iterrows()]); print('logit_tp=16: mean %.1f lowest %.1f highest %.1f'%(100*abs(e).mean(),100*e.min(),100*e.max()))
