import os
DATA = os.path.join(os.environ["MESHWRIGHT_DATA"], "data", "")
"""Allocator peaks of Megatron-LM golden tests with experts: last pipeline rank. Bytes."""
import csv, numpy as np, sys, math
D=DATA + ''
def I(x,d=1): return d if x in('',None) else int(float(x))
def rows(dense=False):
    out=[]
    for r in csv.DictReader(open(D+'steptimes/megatron_golden.csv')):
        if (r['family']=='moe')==dense or not r['mem_max_alloc_bytes']: continue
        if r['layers']=='' : continue
        n=8
        if r['case'].endswith('_1node') and 'gb200' in r['platform']: n=4
        c=dict(case=r['case'],plat=r['platform'],env=r['env'],tp=I(r['tp']),pp=I(r['pp']),cp=I(r['cp']),ep=I(r['ep']),b=I(r['micro_batch']),gb=I(r['global_batch']),L=I(r['layers']),h=I(r['hidden']),a=I(r['heads']),kv=I(r['kv_groups'],0),f=I(r['ffn'],0),E=I(r['experts'],0),k=I(r['topk']),mf=I(r['moe_ffn'],0),s=I(r['seq']),sp=r['seq_par']=='true',do=r['dist_opt']=='true',rec=r['recompute'],fp8=r['fp8']!='',vpl=I(r['vpp_layers'],0),n=n,peak=float(r['mem_max_alloc_bytes']),res=float(r['mem_alloc_bytes'] or 0))
        if r['etp']: c['etp']=int(r['etp'])
        else: c['etp']=c['tp']
        c['h']=I(r['hidden']);c['f']=c['f'] or 4*c['h'];c['mf']=c['mf'] or c['f']
        out.append(c)
    return out
def model(c,flash,P={}):
    tp,pp,cp,ep,etp,h,s,b=c['tp'],c['pp'],c['cp'],c['ep'],c['etp'],c['h'],c['s'],c['b']
    dp=max(1,c['n']//(tp*pp*cp)); L=c['L']//pp
    V=math.ceil(50257/(128*tp))*128*tp
    t=b*s/cp
    att=4*h*h/tp
    ex=(c['E']/ep)*2*h*c['mf']/etp if c['E'] else 2*h*c['f']/tp
    other=h*c['E']+4*h+ (9*h/tp if 1 else 0)
    dense=L*(att+other)+V*h/tp+(s*h if pp==1 else 0)
    exp=L*ex
    nd=dp*cp; ne=max(1,c['n']//(pp*etp*ep))
    z3='z3' in c['case']
    def st(p,n): 
        if z3: return p*18/n
        return p*(6+12/n) if c['do'] else p*18
    inst=2 if 'multi_dist_optimizer' in c['case'] else 1
    if not c['E']: dense+=exp;exp=0
    states=st(dense,max(1,nd//inst))+st(exp,max(1,ne//inst))
    outer=tp if c['sp'] else 1
    # kept per block
    core=5*(c['a']/tp)*b*s*s/cp*((cp+1)/(2*cp)) if not flash else 4*(c['a']/tp)*b*s
    A=t*h*(2+2+2+2)/outer*1.0 - 0
    # norm1 in 2 (residual), norm1 out 2, norm2 in 2, norm2 out 2; masks 2
    A=t*h*10/outer+t*h*(6+2)/tp
    if c['E']:
        Psp=t/outer*c['k']                     # pairs of a rank before the exchange
        Pex=Psp*(etp if outer>1 else 1)        # pairs that its experts see: gathered over the expert tensor group
        z=math.sqrt(2*math.log(ep)) if ep>1 else 0
        Pex*=1+P.get('cv',0)*z*math.sqrt(ep/c['E']*(1-1/ep))
        mo=Pex*(2*h+4*c['mf']/etp)+(Pex if P.get('ag') else Psp)*2*h*P.get('out',1)+t/outer*c['E']*12*P.get('router',1)
        A+=mo
        tr=Pex*2*h*P.get('tr',0)
    else: A+=t*4*c['f']/tp;tr=0
    nm=min(pp if 0 else 1, max(1,c['gb']//(b*dp))) # last rank keeps one micro-batch in 1F1B
    acts=L*(A+core)
    if c['vpl'] and pp>1: acts*=1+0.0
    logits=t*V/tp*(4+2+4*P.get('lg',0))
    return states,acts,logits,tr
def tr1(c):
    'gradients in flight of one block with experts at the end of its backward pass, bytes'
    return c['b']*c['s']/c['cp']*c['h']*4
def total(c,flash,P):
    s,a,l,tr=model(c,flash,P); return s+a+max(l,0)+tr+P.get('res',75e6)+(P.get('ws',0) if ('h100' in c['plat'] or 'gb200' in c['plat'] or (c['plat']=='' and c['env']=='dev')) else 0)+P.get('z3',0)*(1 if 'z3' in c['case'] else 0)*2*(math.ceil(50257/(128*c['tp']))*128*c['h'])+ (P.get('ovl',0)*model(c,flash,P)[1]/max(1,c['L']//c['pp']) if 'ovlp' in c['case'] else 0)+P.get('blk',0)*tr1(c)

def judged(c):
    if c['plat'].endswith('2nd'): return False      # peak holds the loaded checkpoint as well
    if c['L']!=12 or c['h']!=512: return False       # latent attention, layout not stated
    if 'multi_dist' in c['case'] and c['env']=='lts': return False # ran with one instance: resident bytes say so
    return c['E']>0
GROUPED=('groupedGEMM','top2router','etp1_ep4','ddp_average','gpt3_moe_mcore') # --moe-grouped-gemm in model_config.yaml
def near(c,P):
    if not any(n in c['case'] for n in GROUPED): P=dict(P,ws=0)
    f,u=total(c,True,P),total(c,False,P)
    return f if abs(f-c['peak'])<abs(u-c['peak']) else u
def line(n,e):
    e=100*np.array(e);print(f'{n:34} n {len(e)} signed {e.mean():+.1f} median {np.median(abs(e)):.1f} mean {abs(e).mean():.1f} worst over {e.max():+.1f} worst under {e.min():+.1f} share under 6: {np.mean(e<-6):.2f}')
if __name__=='__main__':
    R=[c for c in rows() if judged(c)]

    for n,P in (("today's terms, etp = tp read",dict(res=75e6)),('+ gathered output kept',dict(ag=1)),('+ skew cv .4',dict(ag=1,cv=.4)),('+ cuBLAS workspaces 134 MB, cc>=9',dict(ag=1,ws=134e6,cv=.4)),('+ gradients in flight 2 T h 4',dict(ag=1,ws=134e6,cv=.4,blk=2)),('+ sharded units double buffered',dict(ag=1,ws=134e6,cv=.4,blk=2,z3=6,ovl=1)),('cv .5 res 85',dict(ag=1,ws=134e6,cv=.5,res=85e6,blk=2,z3=6,ovl=1)),('cv .3',dict(ag=1,ws=134e6,cv=.3,res=85e6,blk=2,z3=6,ovl=1))):
        line(n,[near(c,P)/c['peak']-1 for c in R])
    # leave one layout out: resident bytes and cv fitted on the others, weight 3 on under-predictions
    from itertools import product
    keys=sorted({(c['tp'],c['pp'],c['cp'],c['ep'],c['etp'],c['E'],c['k'],c['do']) for c in R}); key=lambda c:(c['tp'],c['pp'],c['cp'],c['ep'],c['etp'],c['E'],c['k'],c['do'])
    grid=[dict(ag=1,ws=134e6,z3=6,ovl=1,blk=2,cv=cv,res=res) for cv,res in product((.2,.3,.4,.5,.6),(60e6,75e6,90e6,105e6,120e6))]
    E=np.array([[near(c,P)/c['peak']-1 for c in R] for P in grid]); cost=np.where(E<0,3*-E,E)
    out=[]
    for k in keys:
        o=np.array([key(c)==k for c in R]); b=np.argmin(cost[:,~o].mean(1)); out+=list(E[b,o])
    print(len(keys),'layouts'); line('layout left out',out); b=np.argmin(cost.mean(1)); print(grid[b]); line('in sample',E[b])
    P=grid[b]
    for c in R:
        e=near(c,P)/c['peak']-1
        if abs(e)>.055: print('   ',c['case'][4:80],c['plat'],c['env'],'%.1f'%(100*e))
    for n,f in (('deepseek proxy, 13 and 16 layers',lambda c:c['L']!=12),('after a resume',lambda c:c['plat'].endswith('2nd'))):
        line(n,[near(c,P)/c['peak']-1 for c in rows() if f(c)])
