import numpy as np, fitbridge as fb, bridge
from bridge import *
from ablate import *
SIG=dict(dense=.08,experts=.15,attn=.12,pointwise=.2,weights=.2,exchange=.3,gap=.35,ends=.15)
def shares(r,x):
    s,o=fb.pred(r,x,True); gap=fb.host(x)(r,recipe(r),o['loc'])
    o=dict(o); o['weights']-=gap
    t=o['tl']; ex=o['exchange']; dev=t-ex if not o['a']['ovl'] else None
    d=dict(dense=o['dense']*x[6],experts=o['experts']*x[6],attn=o['attn'],pointwise=o['pointwise']+o['epoint'],weights=o['weights'],gap=gap)
    if o['a']['ovl']:
        c=sum(d.values()); lo=min(c,ex)
        if ex>c: d={k:v*.2 for k,v in d.items()}; d['exchange']=ex
        else: d['exchange']=ex*.2
    else: d['exchange']=ex
    L=M[r['model']]['L']; d['ends']=o['head']/L
    tot=sum(d.values()); return {k:v/tot for k,v in d.items()}
def fitr(q):
    y=np.array([meas(r) for r in q])
    def f(u):
        x=fb.PRIOR*np.exp(u); e=np.log([fb.pred(r,x) for r in q]/y)/.15
        return np.r_[np.sign(e)*np.sqrt(2*(np.sqrt(1+e*e)-1)),u/fb.SD]
    return fb.PRIOR*np.exp(least_squares(f,np.zeros(len(fb.PRIOR))).x) if q else fb.PRIOR
def group(r): return (r['model'],r['g'],recipe(r)['disp'])
if __name__=='__main__':
    for fix in(1,0):
        rs=rows(fix)
        print('recipes' if fix else 'csv')
        inA=[];inB=[];inC=[];wA=[];wB=[];wC=[]
        S0=.15 # prior: rms of ln measured/predicted believed before any row
        for m in M:
            tr=[r for r in rs if r['model']!=m];te=[r for r in rs if r['model']==m]
            x=fitr(tr)
            # residuals of like rows: the other models, each predicted without itself
            res=[];sh=[];gr=[]
            for m2 in M:
                if m2==m: continue
                x2=fitr([r for r in tr if r['model']!=m2])
                for r in tr:
                    if r['model']==m2:
                        res.append(np.log(meas(r)/fb.pred(r,x2))); s=shares(r,x2); sh.append(np.sqrt(sum((s[k]*SIG[k])**2 for k in s))); gr.append(group(r))
            res=np.array(res);sh=np.array(sh)
            G=sorted(set(gr));w=np.array([1/gr.count(g) for g in gr]);neff=len(G);nu=4
            s2=(nu*S0**2+sum(w*res**2))/(nu+neff); kap2=(nu*1.+sum(w*(res/sh)**2))/(nu+neff)
            so=np.sort(abs(res));q=so[min(len(so)-1,int(np.ceil(.8*(len(so)+1)))-1)]
            for r in te:
                e=np.log(meas(r)/fb.pred(r,x)); z=1.2816
                h=z*np.sqrt(s2); inA.append(abs(e)<=h); wA.append(np.exp(2*h))
                s=shares(r,x);b=np.sqrt(sum((s[k]*SIG[k])**2 for k in s)); h=z*np.sqrt(kap2)*b; inB.append(abs(e)<=h);wB.append(np.exp(2*h))
                inC.append(abs(e)<=q);wC.append(np.exp(2*q))
            print('  without',m[:8],'s %.3f kappa %.2f conformal half %.2f groups %d'%(np.sqrt(s2),np.sqrt(kap2),q,neff))
        for n,i,w in(('A one scale per class, shrunk to .15',inA,wA),('B terms propagated, one factor',inB,wB),('C conformal 80 %',inC,wC)): print('  ',n,'inside %.0f %%'%(100*np.mean(i)),'median width %.2f'%np.median(w),'max %.2f'%max(w))
    # memory
    import memory as mm
    R=[c for c in mm.rows() if mm.judged(c)]
    P=dict(ag=1,ws=134e6,cv=.4,blk=2,z3=6,ovl=1,res=105e6)
    key=lambda c:(c['tp'],c['pp'],c['cp'],c['ep'],c['etp'],c['E'],c['k'],c['do'])
    e=np.array([np.log(c['peak']/mm.near(c,P)) for c in R]);ks=[key(c) for c in R]
    ins=[];wd=[]
    for k in set(ks):
        o=np.array([x==k for x in ks]); rest=e[~o]; w=np.array([1/ks.count(x) for x in np.array(ks,dtype=object)[~o].tolist()] if False else [1/ks.count(x) for x,y in zip(ks,o) if not y])
        i=np.argsort(rest);c=np.cumsum(w[i])/w.sum(); lo=rest[i][np.searchsorted(c,.1)];hi=rest[i][np.searchsorted(c,.9)]
        ins+=list((e[o]>=lo)&(e[o]<=hi));wd+=[np.exp(hi-lo)]*o.sum()
    print('memory, weighted deciles of other layouts: inside %.0f %% width %.2f'%(100*np.mean(ins),np.median(wd)))
    ins=[];wd=[]
    for k in set(ks):
        o=np.array([x==k for x in ks]);w=np.array([1/ks.count(x) for x,y in zip(ks,o) if not y]);s2=(4*.05**2+sum(w*e[~o]**2))/(4+w.sum());h=1.2816*np.sqrt(s2)
        ins+=list(abs(e[o])<=h);wd+=[np.exp(2*h)]*o.sum()
    print('memory, scale shrunk to .05: inside %.0f %% width %.2f'%(100*np.mean(ins),np.median(wd)))
    ins=[];wd=[]
    for k in set(ks):
        o=np.array([x==k for x in ks]);w=np.array([1/ks.count(x) for x,y in zip(ks,o) if not y]);mu=sum(w*e[~o])/(4+w.sum());s2=(4*.05**2+sum(w*(e[~o]-mu)**2))/(4+w.sum());h=1.2816*np.sqrt(s2)
        ins+=list(abs(e[o]-mu)<=h);wd+=[np.exp(2*h)]*o.sum()
    print('memory, shrunk mean and scale: inside %.0f %% width %.2f'%(100*np.mean(ins),np.median(wd)))
