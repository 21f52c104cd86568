from neus import *
import numpy as np
from scipy.optimize import least_squares
PRI=dict(amp=(.92,.1),hop=(.76,.1),tur=(.55,.2),malloc=(1e-3,1.),floor=(.8e-3,.3),dp=(.5,.5))
def KK(x):
    d={n:PRI[n][0]*np.exp(v) for n,v in zip(PRI,x)}
    return dict(ec=dict(ampere=d['amp'],hopper=d['hop'],turing=d['tur']),em=.8,malloc=d['malloc'],floor=d['floor'],dp_exposed=d['dp']),d
def ev(K,rows): return np.array([np.log(step(r,K)*1e3/r.measured_ms) for _,r in rows.iterrows()])
def fit(rows):
    f=lambda x: np.concatenate([ev(KK(x)[0],rows)/.07,[v/PRI[n][1] for n,v in zip(PRI,x)]])
    return least_squares(f,np.zeros(len(PRI)),loss='soft_l1',diff_step=1e-2,max_nfev=15).x
def line(t,e,m): e=np.exp(e)-1; print('%-28s inf signed %+.1f mean %.1f worst %.1f | train signed %+.1f mean %.1f median %.1f worst %.1f'%(t,*[100*x for x in (e[m].mean(),abs(e[m]).mean(),abs(e[m]).max(),e[~m].mean(),abs(e[~m]).mean(),np.median(abs(e[~m])),abs(e[~m]).max())]))
m=(D['mode']=='inf').values
line('nothing fitted, as guessed',ev(K0,D),m); line('nothing fitted, all terms',ev(KK(np.zeros(6))[0],D),m)
for k,v in (('malloc',0),('floor',0)):
    K=KK(np.zeros(6))[0]; K[k]=v; line('without '+k,ev(K,D),m)
x=fit(D); print({k:round(float(v),5) for k,v in KK(x)[1].items()}); line('in sample',ev(KK(x)[0],D),m)
e=np.zeros(len(D))
for mod in D.model.unique():
    i=(D.model==mod).values; x=fit(D[~i]); e[i]=ev(KK(x)[0],D[i]); print(mod,{k:round(float(v),5) for k,v in KK(x)[1].items()})
line('model left out',e,m)
e2=np.zeros(len(D))
for dv in D.device.unique():
    i=(D.device==dv).values; x=fit(D[~i]); e2[i]=ev(KK(x)[0],D[i])
line('device left out',e2,m)
print(np.round(100*(np.exp(e)-1),1))
