import os
DATA = os.path.join(os.environ["MESHWRIGHT_DATA"], "data", "")
"""Physical forms for dense transformer steps. Units: seconds, bytes, FLOP/s."""
import numpy as np, math, json
TILES=[(64,64),(128,64),(128,128),(256,128)]
OPB={'bf16':2,'fp16':2,'fp8':1,'fp8_block':1,'nvfp4':.5625,'fp32':4,'tf32':4}
# product form per (generation, type): [launch_us, ec, em, p, k0, small, splitk_us, cast_share]; fitted by gemmfit.py on gemm.csv, gemm_fp8.csv
GEMM=json.load(open(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'gemm.json')))
for g in ('a100_sxm','h100_sxm'):
    pass
class Dev:
    def __init__(s,name,**k): s.name=name; s.__dict__.update(k)
H100=Dev('h100',tab='h100_sxm',bw=3.35e12,sm=132,peak=dict(bf16=989.4e12,fp8=1978.9e12,fp8_block=1978.9e12,fp32=66.9e12),power=700,
  nv_busbw={2:258e9,4:318e9,8:336e9},nv_lat=16e-6,net=45e9,per_host=8,attn_r=560e12,attn_s0=1100,tdp=700)
H100L=Dev('h100_500w',tab='h100_sxm',bw=2.4e12,sm=132,peak=H100.peak,power=500,nv_busbw=H100.nv_busbw,nv_lat=16e-6,net=45e9,per_host=8,attn_r=560e12,attn_s0=1100,tdp=700)
B200=Dev('b200',tab='b200_sxm',bw=8e12,sm=148,peak=dict(bf16=2250e12,fp8=4500e12,fp8_block=4500e12,nvfp4=9000e12,fp32=80e12),power=1000,
  nv_busbw={2:438e9,4:567e9,8:617e9},nv_lat=25e-6,net=45e9,per_host=8,attn_r=1250e12,attn_s0=2600,tdp=1000)
GB200=Dev('gb200',tab='gb200',bw=8e12,sm=152,peak=dict(bf16=2500e12,fp8=5000e12,fp8_block=5000e12,nvfp4=10000e12,fp32=90e12),power=1200,
  nv_busbw={2:445e9,4:571e9,8:617e9,64:640e9},nv_lat=25e-6,net=45e9,per_host=72,attn_r=1250e12*1.1,attn_s0=2600,tdp=1200)
A100=Dev('a100',tab='a100_sxm',bw=2.039e12,sm=108,peak=dict(bf16=312e12,fp32=19.5e12),power=400,nv_busbw={2:190e9,4:217e9,8:222e9},nv_lat=20e-6,net=22e9,per_host=8,attn_r=152e12,attn_s0=620,tdp=400)
P0=0.15      # static share of the power at full rate
def clock(dev):
    "rate factor at another power limit: dynamic power ~ f^3 beyond the static share"
    x=dev.power/dev.tdp
    return ((x-P0)/(1-P0))**(1/C_POW) if x<1 else 1.
C_POW=1.4
def product(dev,m,n,k,dt,hot,launch=None):
    key=f"{dev.tab}/{dt}"; L,ec,em,p,k0,q,sk,_=GEMM[key]
    R=dev.peak[dt]*ec*hot
    plain=2.*m*n*k/R; best=1e9
    for tm,tn in TILES:
        w=math.ceil(m/tm)*math.ceil(n/tn)/dev.sm
        best=min(best,max(1,(w+math.ceil(w))/2)*dev.sm*tm*tn*2*(k+k0)/R*(1+q*(16384/(tm*tn)-1)/4))
    c=min(best,plain+sk*1e-6)
    mem=(OPB[dt]*(m*k+k*n)+2.*m*n)/(dev.bw*em)
    return 3e-6+(c**p+mem**p)**(1/p)
class Card:
    def __init__(s,h,f,L,a,g,V,gated=True,d=None,tied=False,name=''):
        s.h,s.f,s.L,s.a,s.g,s.V,s.gated,s.tied,s.name=h,f,L,a,g,V,gated,tied,name; s.d=d or h//a
    def block_params(s): return s.h*(s.a+2*s.g)*s.d+s.a*s.d*s.h+(3 if s.gated else 2)*s.h*s.f
    def params(s): return s.L*s.block_params()+(1 if s.tied else 2)*s.V*s.h
L8=Card(4096,14336,32,32,8,128256,name='8b'); L70=Card(8192,28672,80,64,8,128256,name='70b')
def products(c,T,tp):
    "[(m,n,k)] of a forward pass on one tensor rank"
    two=2 if c.gated else 1
    return [(T,(c.a+2*c.g)*c.d//tp,c.h),(T,c.h,c.a*c.d//tp),(T,two*c.f//tp,c.h),(T,c.h,c.f//tp)]
# how each stack treats attention: [forward, backward] rate over the table's forward rate
# H100: FA-3 paper fig. 5/6 (arXiv:2407.08608): cuDNN 600/518, FA2 370/318 TFLOP/s, table (trtllm) 534 at 16k
def attention(dev,c,b,s,tp,cp,st,hot):
    "seconds of causal fused attention, forward and backward"
    fl=2.*b*s*s*(c.a/tp)*c.d/cp         # 4 b s^2 a d / 2
    r=dev.attn_r*hot*s/(s+dev.attn_s0)
    if c.d<=64: r*=st.get('small_head',.72)
    return fl/(r*st['attn_f']), 2.5*fl/(r*st['attn_b'])
def pointwise(c,T,tp,st,dt):
    "bytes moved beside products by a forward and a backward pass on one rank (sequence parallel)"
    h,f,kv=c.h,c.f,(c.a+c.g)*c.d
    drop=0 if c.gated else 1
    if st['fused']:   # compiled or TE: norm r/w 4h, residual 6h each, rope 4(a+g)d, gate 6f
        fw=2*(4*h)+2*(6+drop)*h+(4*kv if c.gated else 0)+(6*f if c.gated else 4*f)
        bw=2*(6*h)+2*6*h+(4*kv if c.gated else 0)+(10*f if c.gated else 6*f)
    else:             # eager: norm in fp32 round trips (22h), residual 6h, rope in fp32 complex (24), silu and mul apart
        fw=2*(22*h)+2*6*h+24*kv+(10*f if c.gated else 4*f)
        bw=2*(30*h)+2*6*h+24*kv+(16*f if c.gated else 6*f)
    q=CAST[dt] if dt in CAST else (0,0)
    two=2 if c.gated else 1
    qf=3*h+f; qb=(c.a+2*c.g)*c.d+h+two*f+h
    return (fw+q[0]*qf)*T/tp,(bw+q[1]*qb)*T/tp
# bytes per element that quantising an activation and a gradient moves:
#  current scaling: amax read 2, cast read 2 + write 1, transposed copy 1 (Hopper); block scaling: read 2, write 1+1; nvfp4: amax 2, read 2+2 (row, column with Hadamard), write 1.1
CAST={'fp8':(6,6),'fp8_b':(5,5),'fp8_block':(4.2,4.2),'nvfp4':(5.2,5.2)}
def collective(dev,n,nbytes):
    "all-gather or reduce-scatter of a whole of nbytes over n ranks of one domain"
    if n<=1: return 0.
    bw=dev.nv_busbw.get(n) or dev.nv_busbw[max(k for k in dev.nv_busbw if k<=n)]
    return dev.nv_lat+nbytes*(n-1)/n/bw
def across(dev,n,nbytes):
    "the same over hosts: every rank of a host has a card; nbytes whole of a ring of n over hosts of per_host"
    if n<=dev.per_host: return collective(dev,n,nbytes)
    return 30e-6+nbytes*(n-1)/n/(dev.net*NET_SHARE*min(dev.per_host,n))
NET_SHARE=0.85
KAPPA={'h100':.15,'h100_500w':.15,'b200':.15,'gb200':.15,'a100':.5}
