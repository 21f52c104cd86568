"""Bridge mixtures of experts: step time by physical forms. Units: s, bytes, flop."""
import csv, numpy as np, sys
from kernels import peak, bw, D
GPU={'DGX-H100':'h100_sxm','DGX-B200':'b200_sxm','DGX-GB200':'gb200'}
M={'Qwen3_30B_a3B':dict(L=48,h=2048,H=32,kv=4,d=128,E=128,k=8,f=768,sh=0,V=151936,dense=0,fd=0,win=0),
   'GPT OSS 120B':dict(L=36,h=2880,H=64,kv=8,d=64,E=128,k=4,f=2880,sh=0,V=201088,dense=0,fd=0,win=128),
   'DeepSeekV3':dict(L=61,h=7168,H=128,kv=128,d=192,dv=128,E=256,k=8,f=2048,sh=1,V=129280,dense=3,fd=18432,win=0,mla=(1536,512,64))}
DT={'BF16':'bf16','FP8':'fp8','FP8-CS':'fp8','MXFP8':'mx','FP8-MX':'mx'}
# constants of tables (kernels.py): dense product ec, grouped products 1/(1+kf/f), attention
EC={('h100_sxm','bf16'):.77,('h100_sxm','fp8'):.60,('h100_sxm','mx'):.55,('b200_sxm','bf16'):.68,('b200_sxm','fp8'):.553,('b200_sxm','mx'):.566}
KF={('h100_sxm','bf16'):220,('h100_sxm','fp8'):230,('h100_sxm','mx'):1361,('b200_sxm','bf16'):455,('b200_sxm','fp8'):558,('b200_sxm','mx'):622} # skew.py
AT={('h100_sxm',64):(.481,1508),('h100_sxm',128):(.538,845),('h100_sxm',192):(.511,688),('b200_sxm',64):(.340,1575),('b200_sxm',128):(.537,1790),('b200_sxm',192):(.54,1790)}
EX={'h100_sxm':(388,329),'b200_sxm':(479,455)} # GB/s of dispatch, combine, DeepEP normal inside a host
A2A={'h100_sxm':330,'b200_sxm':560}; CARD=45e9; EM=.8
def card(hosts):
    'bytes/s through one 400 Gb/s card in an exchange over so many hosts (expert_exchange.csv, H100, 20-24 SMs, transmit)'
    return np.interp(np.log2(hosts),[1,2,3],[40e9,45e9,34e9])
def rows(fix=False):
    seen={};out=[]
    for r in csv.DictReader(open(D+'steptimes/megatron_bridge.csv')):
        if r['model'].startswith('LLAMA'): continue
        if r['fsdp']=='' : r['fsdp']='0'
        n=lambda x:1 if x in('','n/a') else int(x)
        model=r['model'].split(' (')[0]; note=r['model'].split(' (')[1][:-1] if '(' in r['model'] else ''
        prec=DT[r['precision']]
        key=(r['system'],r['model'],r['gpus'],prec if prec!='x' else 0,r['gbs'],r['mbs'],n(r['tp']),n(r['pp']),n(r['cp']),n(r['vp']),n(r['ep']))
        if key in seen: continue
        seen[key]=1
        out.append(dict(g=GPU[r['system']],model=model,note=note,N=int(r['gpus']),dt=prec,gbs=int(r['gbs']),mbs=int(r['mbs']),seq=int(r['seq']),tp=n(r['tp']),pp=n(r['pp']),vp=n(r['vp']),ep=n(r['ep']),rel=r['release'].split()[0],tps=float(r['tokens_per_s_per_gpu'])))
    if fix:
        for r in out:
            if r['rel']=='25.11' and r['model']=='Qwen3_30B_a3B' and r['g']=='h100_sxm': r['mbs']=1;r['vp']=12
            if r['rel']=='25.11' and r['model']=='GPT OSS 120B':
                if r['g']=='h100_sxm': r['mbs']=1
                else: r['ep']=64
    return out
def recipe(r):
    """Dispatcher, overlap, graphs as the recipe of the release states them (Megatron-Bridge tags v0.1.0rc4..v0.4.1)."""
    a=dict(disp='a2a',ovl=False,graph=0.,pad='tokendrop' in r['note'])
    m,new=r['model'],r['rel']>='26.02.01'
    if m=='Qwen3_30B_a3B':
        if r['g']=='b200_sxm': a['disp']='flex' if new else 'a2a'; a['graph']=1 if new or a['pad'] else 0
        else: a['disp']='flex' if new else 'a2a'; a['ovl']=r['pp']>1 
    if m=='GPT OSS 120B' and r['g']=='b200_sxm' and new: a['disp']='flex'
    if m=='DeepSeekV3':
        if r['g']=='h100_sxm': a['disp']='flex'; a['ovl']=True
        else:
            a['disp']='flex' if r['rel']>='26.02' else 'a2a'
            if r['vp']>1: a['ovl']=True;a['graph']=1
    return a
def parts(r,C={}):
    m=M[r['model']];g=r['g'];dt=r['dt'];T=r['mbs']*r['seq'];tp=r['tp'];h=m['h'];a=recipe(r)
    P8=peak(g,'bf16' if dt=='bf16' else 'fp8');ec=EC[g,dt];B=bw(g)*EM
    fp8=dt!='bf16'
    # dense products of a block (elements of weights)
    if 'mla' in m:
        q,kv,ro=m['mla'];w_att=h*q+q*m['H']*m['d']+h*(kv+ro)+kv*m['H']*(m['d']-ro+m['dv'])+m['H']*m['dv']*h; up=q*m['H']*m['d']+kv*m['H']*(m['d']-ro+m['dv'])
    else: w_att=h*(m['H']+2*m['kv'])*m['d']+m['H']*m['d']*h;up=0
    w_sh=3*h*m['f']*m['sh']
    fl=6*T*(w_att+w_sh)/tp+2*T*up/tp
    o={}
    o['dense']=fl/(P8*ec)
    dv=m.get('dv',m['d']);S=r['seq']
    full=T*S*m['H']*(m['d']+dv)/tp   # causal forward flop of one block
    if m['win']: full=full*(.5+.5*2*m['win']/S)
    e,s0=AT[g,m['d']]
    o['attn']=full*(1+2.5)/(peak(g,'bf16')*e)*(1+s0/S)
    Pr=T*m['k']/1.0
    # sequence parallel tokens: with tp and ep over them each rank routes T/tp tokens
    Pr/=tp
    fe=6*Pr*3*h*m['f']
    o['experts']=fe/(P8*ec)*(1+KF[g,dt]/m['f'])
    loc=m['E']/r['ep'];we=loc*3*h*m['f']
    o['weights']=we*(8 if not fp8 else 6)/B+ (w_att/tp)*6/B
    Ts=T/tp
    pw=Ts*h*(20+24)+Ts*(m['H']+m['kv'])*m['d']*8
    pe=Pr*(4*h*2+16*m['f'])+Ts*4*h*2
    if a['disp']=='a2a': pe+=Pr*h*4*4 # sorting by local expert before and after, forward and backward
    if m['win']: pe+=Pr*(50*m['f']+40*h) # biases of experts by split, add and cat; moe_act computed again
    if fp8:
        c=6 if dt=='fp8' else 4.2
        pw+=c*(Ts*h*2+Ts*(m['H']+2*m['kv'])*m['d']/1+Ts*m['H']*dv+Ts*h)
        pe+=c*Pr*(h+m['f']+2*m['f']+h)
    o['pointwise']=pw/B;o['epoint']=pe/B
    n=r['ep'];Tt=Ts
    hosts=max(1,n*tp//8) if False else max(1,n//8)
    if n>1:
        inh=min(n,8)
        if a['disp']=='flex':
            R=n*(1-(1-1/n)**m['k'])*(min(n,8)/n) if hosts==1 else hosts*(1-(1-1/hosts)**m['k'])
            d,c=EX[g]
            if hosts==1:
                by=Tt*R*h*2; t=2*by/(d*1e9)+2*by/(c*1e9)
            else:
                rem=hosts*(1-(1-1/hosts)**m['k'])*(hosts-1)/hosts
                t=4*Tt*rem*h*2/card(hosts)
                Ri=n*(1-(1-1/n)**m['k'])
                t=max(t,4*Tt*Ri*h*2/(c*1e9))
            t+=4*60e-6
        else:
            by=Pr*h*2
            t=4*(by*(min(n,8)-1)/n/(A2A[g]*1e9) if hosts==1 else max(by*(n-8)/n/CARD, by*7/n/(A2A[g]*1e9)))+4*40e-6
        o['exchange']=t
    else:o['exchange']=0
    if tp>1: o['tp']=4*T*h*2*(tp-1)/tp/(300e9)*1.
    else:o['tp']=0
    o['loc']=loc
    return o,a
def step(r,host=None,K=None,full=False):
    """host(gpu,a,loc,dt): seconds of host work per block and micro-batch (forward and backward)."""
    o,a=parts(r);m=M[r['model']]
    K=K or {}
    dev=o['dense']*K.get('prod',1)+o['experts']*K.get('exp',1)+o['attn']*K.get('attn',1)+(o['pointwise']+o['epoint'])*K.get('pw',1)+o['weights']+o['tp']
    ex=o['exchange']*K.get('ex',1)
    t=max(dev,ex)+.2*min(dev,ex) if a['ovl'] else dev+ex
    hf=host(r,a,o['loc']) if host else 0
    tl=max(t,hf)
    # ends
    T=r['mbs']*r['seq'];g=r['g']
    head=6*T*m['h']*m['V']/r['tp']/(peak(g,'bf16')*EC[g,'bf16'])+T*m['V']/r['tp']*20/(bw(g)*EM)
    L=m['L']+(1 if 'MTP' in r['note'] else 0)
    per=L/r['pp']
    import math
    stage=max(per*tl+head/r['pp'], (math.ceil(per*1.0)*tl if r['pp']>1 else 0))
    dp=r['N']//(r['tp']*r['pp']);mm=r['gbs']/(dp*r['mbs'])
    # optimizer and gradients
    pe=m['E']/r['ep']*3*m['h']*m['f']*L/r['pp'];edp=max(1,r['N']//(r['pp']*r['ep']*1))
    pd=(L/r['pp'])*(4*m['h']*m['H']*m['d'])/r['tp']+m['V']*m['h']
    opt=28*(pe/edp+pd/dp)/(bw(g)*EM)
    comm=0
    for p,n in((pe,edp),(pd,dp)):
        if n>1:
            lim=CARD if (n*(r['tp'] if p is pd else r['ep'])>8) else A2A[g]*1e9
            comm+=2*2*p*(n-1)/n/lim
    exposed=max(0,comm/2-.6*stage)+max(0,comm/2-.3*stage)
    s=(mm+(r['pp']-1)/r['vp'])*stage+opt+exposed
    if full: return s,dict(o,tl=tl,t=t,hf=hf,head=head,opt=opt,exposed=exposed,mm=mm,a=a)
    return s
def meas(r): return r['gbs']*r['seq']/r['N']/r['tps']
if __name__=='__main__':
    for r in rows():
        s,o=step(r,full=True);y=meas(r)
        dp=r['N']//(r['tp']*r['pp']);mb=r['gbs']/(dp*r['mbs'])
        yl=(y-o['opt']-o['exposed'])/(mb+(r['pp']-1)/r['vp'])/(M[r['model']]['L']/r['pp'])-o['head']/M[r['model']]['L']
        print(f"{r['g'][:4]} {r['model'][:8]:8} {r['note'][:9]:9} {r['rel']:8} {r['dt']:4} tp{r['tp']} pp{r['pp']} vp{r['vp']} ep{r['ep']} mbs{r['mbs']} {o['a']['disp']:4} ovl{int(o['a']['ovl'])} gr{o['a']['graph']:.0f} pred/meas {s/y:.2f}  layer meas {yl*1e3:.1f} ms pred {o['t']*1e3:.1f} |"+' '.join(f'{k} {o[k]*1e3:.2f}' for k in('dense','experts','attn','pointwise','epoint','weights','exchange','tp','head'))+f" exp {o['exposed']:.2f}s opt {o['opt']:.2f} of {y:.2f}")
