import os
DATA = os.path.join(os.environ["MESHWRIGHT_DATA"], "data", "")
# fit the plain product form per (gpu,dtype) on training-sized shapes; optional cast term for quantised inputs
import pandas as pd, numpy as np, sys, json
from scipy.optimize import least_squares
D=DATA + ''
g=pd.concat([pd.read_csv(D+'measurements/gemm.csv'),pd.read_csv(D+'measurements/gemm_fp8.csv')])
FACT={'a100_sxm':(2.039e12,{'bf16':312e12},108),'h100_sxm':(3.35e12,{'bf16':989.4e12,'fp8':1978.9e12,'fp8_block':1978.9e12},132),
'b200_sxm':(8e12,{'bf16':2250e12,'fp8':4500e12,'fp8_block':4500e12,'nvfp4':9000e12},148),'gb200':(8e12,{'bf16':2500e12,'fp8':5000e12,'fp8_block':5000e12,'nvfp4':10000e12},152),
'rtx_pro_6000_server':(1.597e12,{'bf16':503.8e12},188)}
TILES=np.array([(64,64),(128,64),(128,128),(256,128)],float)
OP={'bf16':2,'fp8':1,'fp8_block':1,'nvfp4':.5625}
def form(th,m,n,k,bw,pk,s,op,cast):
    launch,ec,em,p,k0,q,sk,cs=th
    R=pk*ec
    plain=2*m*n*k/R
    t=np.full_like(plain,np.inf)
    for tm,tn in TILES:
        w=np.ceil(m/tm)*np.ceil(n/tn)/s
        pen=1+q*(128*128/(tm*tn)-1)/4
        t=np.minimum(t,np.maximum(1,(w+np.ceil(w))/2)*s*tm*tn*2*(k+k0)/R*pen)
    c=np.minimum(t,plain+sk*1e-6)
    by=op*(m*k+k*n)+2*m*n
    mem=by/(bw*em)
    return launch*1e-6+(c**p+mem**p)**(1/p)+cast*cs*(2+op)*m*k/(bw*em)
if __name__=='__main__':
  out={}
  for (gpu,dt),b in g.groupby(['gpu','dtype']):
    bw,pk,s=FACT[gpu]; 
    b=b[(b.m*1.*b.n*b.k>2e10)&(b.m>=512)]
    a=[b[c].to_numpy(float) for c in 'mnk']; t=b.time_us.to_numpy()*1e-6
    for cast in ([0] if dt=='bf16' else [0,1]):
      f=lambda th: np.log(form(th,*a,bw,pk[dt],s,OP[dt],cast)/t)
      r=least_squares(f,[2.5,.7,.75,2.5,40,.1,3.5,1.],bounds=([0,.2,.3,1,0,0,0,0],[40,1.1,1.2,8,600,1,60,3]),loss='soft_l1',f_scale=.1)
      e=np.exp(f(r.x))-1
      print(gpu,dt,'cast',cast,len(b),'mean|e| %.1f med %.1f signed %.1f p90 %.1f'%(100*abs(e).mean(),100*np.median(abs(e)),100*e.mean(),100*np.quantile(abs(e),.9)),np.round(r.x,3))
      out[f'{gpu}/{dt}']=[*r.x]
  json.dump(out,open('gemm.json','w'))
