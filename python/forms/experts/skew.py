import os
DATA = os.path.join(os.environ["MESHWRIGHT_DATA"], "data", "")
"""What a stated skew costs: time of power-law layers over balanced ones at equal sizes (moe_dtypes.csv), and the heaviest rank's load that would explain it."""
import csv, numpy as np, collections, math
D=DATA + 'measurements/'
rows=list(csv.DictReader(open(D+'moe_dtypes.csv')))
from kernels import peak,bw,W
EC={('h100_sxm','bfloat16'):.77,('b200_sxm','bfloat16'):.68,('gb200','bfloat16'):.65,('h100_sxm','fp8'):.60,('b200_sxm','fp8'):.553,('gb200','fp8'):.53,('h100_sxm','fp8_block'):.55,('b200_sxm','fp8_block'):.566,('gb200','fp8_block'):.58}
from scipy.optimize import least_squares
for (g,dt),ec in EC.items():
    rr=[r for r in rows if r['gpu']==g and r['dtype']==dt and r['distribution']=='balanced' and int(r['tokens'])>=1024]
    T,h,f,k,E,tp,ep,t=[np.array([float(r[c]) for r in rr]) for c in('tokens','hidden','expert_ffn','topk','experts','moe_tp','moe_ep','time_us')];t*=1e-6;f/=tp
    P=T*k/ep;loc=E/ep;m=P/loc
    F=6*P*h*f;Bw=W[dt]*3*loc*h*f;Ba=2*P*(3*h+3*f)
    fn=lambda x:x[0]*1e-6+F/(peak(g,dt)*ec)*(1+x[1]/f+x[2]/m)+(Bw+Ba)/(bw(g)*.8)
    s=least_squares(lambda x:np.log(fn(x)/t),[40,300,50],bounds=([0,0,0],[200,5000,2000]),loss='soft_l1',f_scale=.1)
    e=np.log(fn(s.x)/t);print(g,dt,len(rr),'launch %.0f us kf %.0f km %.0f'%tuple(s.x),'median |e| %.3f'%np.median(abs(e)),'signed %.3f'%e.mean())
