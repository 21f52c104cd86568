import os
DATA = os.path.join(os.environ["MESHWRIGHT_DATA"], "data", "")
import pandas as pd, numpy as np, math
D=pd.read_csv(DATA + 'steptimes/neusight.csv')
CARD=dict(gpt2_large=(36,1280,20,50257),bert_large=(24,1024,16,30522),gpt3_27=(32,2560,32,50257))
# device: peak fp32, bandwidth, SMs, TDP, generation, link for 4 GPUs (bus bytes/s)
DEV={'NVIDIA_A100-PCIE-40GB':(19.5e12,1.555e12,108,250,'ampere',0),'NVIDIA_A100_80GB_PCIe':(19.5e12,1.935e12,108,300,'ampere',0),
 'NVIDIA_A100-SXM4-40GB':(19.5e12,1.555e12,108,400,'ampere',217e9),'NVIDIA_H100_80GB_HBM3':(66.9e12,3.35e12,132,700,'hopper',318e9),'Tesla_T4':(8.1e12,.32e12,40,70,'turing',0)}
def gemm(dev,m,n,k,K,cnt=1,own=None):
    pk,bw,sm,tdp,g,_=dev
    R=pk*K['ec'][g]
    best=1e9
    for tm,tn in ((128,128),(128,64),(64,64)):
        w=cnt*math.ceil(m/tm)*math.ceil(n/tn)/sm
        best=min(best,max(1,(w+math.ceil(w))/2)*sm*tm*tn*2*(k+K.get('k0',16))/R*(1+K.get('q',.3)*(16384/(tm*tn)-1)/4))
    mem=4.*cnt*(m*k+k*n+m*n)/(bw*K['em']); p=K.get('p',3)
    return (best**p+mem**p)**(1/p)
def work(r,K,tp=1,L=None,batch=None):
    "forward and backward seconds, head included"
    Ld,h,a,V=CARD[r.model]; L=L or Ld; b=batch or r.batch; s=r.seq; T=b*s; d=h//a; dev=DEV[r.device]; bw=dev[1]*K['em']
    bert='bert' in r.model; train=r['mode']=='train'; fus=r.option=='fusion'
    a_=a//tp
    pr=[(T,3*h//tp,h),(T,h,h//tp),(T,4*h//tp,h),(T,h,4*h//tp)]
    if bert: pr=[(T,h//tp,h)]*3+pr[1:]
    gf=sum(gemm(dev,*x,K) for x in pr); gb=sum(gemm(dev,m,k,n,K)+gemm(dev,n,k,m,K) for m,n,k in pr)
    bg=lambda m,n,k:gemm(dev,m,n,k,K,cnt=b*a_)
    gf+=bg(s,s,d)+bg(s,d,s); gb+=bg(s,d,s)+bg(s,s,d)+2*bg(s,d,s)
    drop=train
    # bytes per token and width: norms, permuted copies, residual adds, activation; per score: scale, mask, softmax (+dropout)
    if fus: pf=(2*12+24+2*4)*h/1+(32*h); sc=12
    else:
        act=(72 if not bert else 8)*4*h/tp
        pf=2*8*h+(24+8)*h/tp+2*12*h+act+(2*9*h if drop else 0)
        sc=(8+9+8 if not bert else 8+8+8)+(9 if drop else 0)
    actb=(110 if not bert else 12)*4*h/tp
    pb=2*12*h+32*h/tp+2*8*h+2*9*h+actb+2*4*h; scb=(12+9+8+9)
    pf*=T; pb*=T; sf=sc*b*a_*s*s; sb=scb*b*a_*s*s
    f=L*(gf+(pf+sf)/bw); bk=L*(gb+(pb+sb)/bw+12.*12*h*h/tp/bw*0)
    f=max(f,L*K.get('floor',0)); 
    if bert:
        hd=gemm(dev,T,h,h,K)+gemm(dev,T,V,h,K) if train else 0
    else: hd=gemm(dev,T,V//tp,h,K)
    hb=2*hd
    f+=hd; bk+=hb
    # allocator starts empty in every repetition: cudaMalloc of what forward keeps
    if train and K.get('malloc'):
        keep=L*((17+ (8*4 if not bert else 4))*T*h*4./tp+b*a_*s*s*4.*(4 if not bert else 3)+0)
        f+=K['malloc']*keep/1e9
    return f,bk
def step(r,K):
    o=r.option if isinstance(r.option,str) else ''
    dev=DEV[r.device]; Ld,h,a,V=CARD[r.model]; P=Ld*12.*h*h+V*h
    if o.startswith('dp'):
        n=int(o[2:]); f,b=work(r,K,batch=r.batch//n)
        ar=4*P*2*(n-1)/n/dev[5]; return f+b+ar*K.get('dp_exposed',.3)
    if o.startswith('tp'):
        n=int(o[2:]); f,b=work(r,K,tp=n)
        ar=4.*r.batch*r.seq*h*2*(n-1)/n/dev[5]+20e-6
        return f+b+4*Ld*ar
    if o.startswith('pp'): f,b=work(r,K); return f+b
    f,b=work(r,K); return f+(b if r['mode']=='train' else 0)
K0=dict(ec=dict(ampere=.92,hopper=.76,turing=.55),em=.8)
def table(K,show=True):
    e=[]
    for _,r in D.iterrows():
        x=step(r,K)*1e3; e.append(x/r.measured_ms-1)
        if show:
            f,b=work(r,K) if not isinstance(r.option,str) or r.option=='fusion' else (0,0)
            print(r.device[7:],r.model,r.seq,r.batch,r['mode'],r.option,'meas',r.measured_ms,'pred %.1f %+.1f%%'%(x,100*e[-1]), ('fw %+.0f%%'%(100*(f*1e3/r.measured_fw_ms-1)) if f else ''),('bw %+.0f%%'%(100*(b*1e3/r.measured_bw_ms-1)) if f and r.measured_bw_ms==r.measured_bw_ms else ''),'neusight %+.1f%%'%(100*(r.neusight_ms/r.measured_ms-1)))
    return np.array(e)
if __name__=='__main__':
    e=table(K0); i=(D['mode']=='inf').values
    for n,m in (('inference',i),('training',~i)): print(n,m.sum(),'signed %.1f mean %.1f median %.1f worst %.1f'%tuple(100*x for x in (e[m].mean(),abs(e[m]).mean(),np.median(abs(e[m])),abs(e[m]).max())),'neusight mean %.1f'%(100*abs(D.neusight_ms/D.measured_ms-1)[m].mean()))
