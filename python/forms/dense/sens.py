from fit import *
import fit as F
th=dict(h=.855,bl=.828,tpx=.347,p2p=.325,pow=1.72,asy=.42,cp=.267,roww=1.39)
k=F.K(th)
for _,r in M.iterrows():
    o=sorted((mcore.step(r,a,b,k),a,b) for a,b in mcore.choices(r)); me=mcore.measured(r)
    print(r.model,[(a,b,round(100*(t/me-1),1)) for t,a,b in o[:6]],'worst',[(a,b,round(100*(t/me-1),1)) for t,a,b in o[-2:]])
    best=o[0]; print('   ',{n:round(v/me,3) for n,v in mcore.step(r,best[1],best[2],k,detail=True)[1].items()})
def mm(**kw):
    K0=dict(k,**kw); e=np.array([mcore.chosen(r,K0)[0]/mcore.measured(r)-1 for _,r in M.iterrows()]); print(kw,np.round(100*e,1))
mm(); mm(dp_exp=0.); mm(dp_exp=.2); mm(kdp=0.); mm(net=1.); mm(net=.7); mm(p2p_exp=0.); mm(p2p_exp=1.); mm(tp_exp=.0); mm(tp_exp=1.); mm(sigma=.01)
# interleaving up to 4 and 8 only
ch=mcore.choices
for lim in (1,4,8):
    mcore.choices=lambda r,l=lim:[(a,b) for a,b in ch(r) if b<=l]; print('v<=',lim,end=' '); mm()
mcore.choices=ch
# H100 power factor check
import core
for w in (400,500,600,700):
    core.C_POW=1.72; d=core.Dev('x',power=w,tdp=700); print(w,round(core.clock(d),3))
# stricter leave out: families of techniques
TTt=TT.technique
for nm,sel in (('rowwise',TTt.str.contains('rowwise')),('async',TTt.str.contains('async')),('CP',TTt.str.contains('CP')),('float8',TTt.str.contains('float8')),('all torchtitan',TTt.str.len()>0)):
    t_,_=fit(B,M,TT[~sel]); _,_,g=errs(t_); line('torchtitan family left out: '+nm,g[sel.values]); print({a:round(float(b),2) for a,b in t_.items()})
