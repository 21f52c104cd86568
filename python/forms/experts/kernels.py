import os
DATA = os.path.join(os.environ["MESHWRIGHT_DATA"], "data", "")
"""Fits of kernel tables: dense products, grouped experts, attention, expert exchange. Units: s, bytes, flop."""
import csv, numpy as np, json
from scipy.optimize import least_squares
D=DATA + ''
dev={r['device']:r for r in csv.DictReader(open(D+'devices.csv'))}
NAME={'h100_sxm':'h100_sxm5_80gb','b200_sxm':'b200_sxm_180gb','gb200':'gb200_gpu_186gb','a100_sxm':'a100_sxm4_80gb'}
def peak(gpu,dt):
    r=dev[NAME[gpu]]; b=float(r['peak_bf16_flops'])
    if dt in('bf16','bfloat16'): return b
    if dt=='nvfp4': return 4*b if gpu!='h100_sxm' else None
    return 2*b
def bw(gpu): return float(dev[NAME[gpu]]['memory_bandwidth'.replace('bandwidth','bytes_per_s')])
W={'bf16':2,'bfloat16':2,'fp8':1,'fp8_block':1,'nvfp4':.5625}
def fit(f,x0,y,lo,hi):
    s=least_squares(lambda x:np.log(f(x)/y),x0,bounds=(lo,hi),loss='soft_l1',f_scale=.1)
    r=np.log(f(s.x)/y); return s.x,np.median(abs(r)),np.mean(r)
def products():
    out={}
    for fn,in (('gemm.csv',),('gemm_fp8.csv',)):
        rows=list(csv.DictReader(open(D+'measurements/'+fn)))
        for g in NAME:
            for dt in sorted({r['dtype'] for r in rows}):
                rr=[r for r in rows if r['gpu']==g and r['dtype']==dt and int(r['m'])>=256 and int(r['n'])>=256 and int(r['k'])>=256]
                if not rr: continue
                m,n,k,t=[np.array([float(r[c]) for r in rr]) for c in('m','n','k','time_us')]; t=t*1e-6
                F=2*m*n*k; B=W[dt]*(m*k+n*k)+2*m*n
                f=lambda x:x[0]*1e-6+F/(peak(g,dt)*x[1])+B/(bw(g)*x[2])
                x,med,bias=fit(f,[5,.7,.7],t,[0,.1,.1],[40,1.05,1.3])
                big=F>1e12
                out[g,dt]=x; print('product',g,dt,len(rr),'launch us %.1f ec %.3f em %.2f'%tuple(x),'med %.3f bias %.3f'%(med,bias),'big: med rate/peak %.3f'%np.median((F/t/peak(g,dt))[big]),'big resid %.3f'%np.median((f(x)/t)[big]))
    return out
def experts():
    out={}
    rows=list(csv.DictReader(open(D+'measurements/moe_dtypes.csv')))+[dict(r,dtype='bfloat16') for r in csv.DictReader(open(D+'measurements/moe.csv')) if r['gpu']=='a100_sxm']
    for g in NAME:
        for dt in('bfloat16','fp8','fp8_block','nvfp4'):
            rr=[r for r in rows if r['gpu']==g and r['dtype']==dt and r['distribution']=='balanced' and int(r['tokens'])>=512]
            if len(rr)<20: continue
            T,h,f,k,E,tp,ep,t=[np.array([float(r[c]) for r in rr]) for c in('tokens','hidden','expert_ffn','topk','experts','moe_tp','moe_ep','time_us')]; t=t*1e-6
            f=f/tp; P=T*k/ep; loc=E/ep
            F=6*P*h*f; Bw=W[dt]*3*loc*h*f; Ba=P*2*(3*h+3*f)
            fn=lambda x:x[0]*1e-6+F/(peak(g,dt)*x[1])*(1+x[3]/f)+(Bw+Ba)/(bw(g)*x[2])
            x,med,bias=fit(fn,[40,.6,.6,20],t,[0,.1,.1,0],[200,1.1,2,3000])
            big=F>5e11
            out[g,dt]=x; print('experts',g,dt,len(rr),'launch us %.1f ec %.3f em %.2f kf %.0f'%tuple(x),'med %.3f bias %.3f'%(med,bias),'big n %d resid %.3f rate/peak %.3f'%(big.sum(),np.median((fn(x)/t)[big]),np.median((F/t/peak(g,dt))[big])))
    return out
def attention():
    out={}
    rows=list(csv.DictReader(open(D+'measurements/attention.csv')))
    for g in NAME:
        for d in(64,128,192,256):
            rr=[r for r in rows if r['gpu']==g and r['phase']=='prefill' and int(r['head_dim'])==d and int(r['seq_len'])>=1024]
            if len(rr)<5: continue
            b,s,H,kv,t=[np.array([float(r[c]) for r in rr]) for c in('batch','seq_len','heads','kv_heads','time_us')]; t=t*1e-6
            F=2*b*s*s*H*d
            fn=lambda x:x[0]*1e-6+F/(peak(g,'bf16')*x[1])*(1+x[2]/s)
            x,med,bias=fit(fn,[10,.5,500],t,[0,.05,0],[60,1.1,5000])
            out[g,d]=x; print('attention',g,d,len(rr),'launch %.1f eff %.3f s0 %.0f'%tuple(x),'med %.3f'%med)
    return out
def exchange():
    out={}
    rows=list(csv.DictReader(open(D+'measurements/expert_exchange.csv')))
    for g in('h100_sxm','b200_sxm','gb200'):
        for be in('deepep_normal','deepep_ht','trtllm_deepep_ht'):
            for ph in('dispatch','combine'):
                rr=[r for r in rows if r['gpu']==g and r['backend']==be and r['phase']==ph and r['nodes']=='1' and int(r['tokens'])>=256 and (r['dtype'] in('','default','bfloat16')) and r['sms'] in('20','24','0')]
                if not rr: continue
                T,h,k,ep,t=[np.array([float(r[c]) for r in rr]) for c in('tokens','hidden','topk','ep','transmit_us')]; t=t*1e-6
                R=ep*(1-(1-1/ep)**k)  # ranks that a token reaches
                B=T*R*h*2*(1 if (ph=='combine' or be!='deepep_normal') else .5)
                fn=lambda x:x[0]*1e-6+B/(x[1]*1e9)+T*R*x[2]*1e-9
                x,med,bias=fit(fn,[20,200,.5],t,[0,10,0],[300,2000,50])
                out[g,be,ph]=x; print('exchange',g,be,ph,len(rr),'start us %.0f GB/s %.0f ns/pair %.2f'%tuple(x),'med %.3f'%med)
    # across hosts
    for nodes in('2','4','8'):
        for ph in('dispatch','combine'):
            rr=[r for r in rows if r['gpu']=='h100_sxm' and r['backend']=='deepep_normal' and r['phase']==ph and r['nodes']==nodes and r['sms']=='24' and int(r['tokens'])>=256]
            n=int(nodes);k=8
            reach=n*(1-(1-1/n)**k)*(n-1)/n # remote hosts a token reaches (uniform)
            for r in rr:
                if int(r['tokens']) in(512,1024,4096,16384,65536):
                    B=int(r['tokens'])*reach*7168*(1 if ph=='dispatch' else 2)
                    print('   hosts',nodes,ph,r['tokens'],'%.0f us'%float(r['transmit_us']),'bytes through card %.1f MB -> %.1f GB/s'%(B/1e6,B/float(r['transmit_us'])/1e3))
    return out
if __name__=='__main__':
    products();experts();attention();exchange()
