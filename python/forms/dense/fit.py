import numpy as np, copy, sys
import core, bridge, mcore, titan
from scipy.optimize import minimize
B=bridge.rows(); B['meas']=B.gbs*B.seq/(B.tokens_per_s_per_gpu*B.gpus); M=mcore.D; TT=titan.D
PR=dict(h=(.9,.1),bl=(.9,.1),tpx=(.3,.5),p2p=(.3,.7),pow=(2.,.3),asy=(.5,.3),cp=(.1,1.),roww=(1.3,.1))
from scipy.optimize import least_squares
def K(th):
    core.C_POW=th['pow']
    return dict(hot=dict(h100=th['h'],b200=th['bl'],gb200=th['bl']),em=th.get('em',.8),recipe=th.get('recipe',1),tp_exp=th['tpx'],p2p_exp=th['p2p'],async_=0,sigma=th.get('sigma',0.),**{'async':th['asy'],'cp':th['cp'],'roww':th['roww']})
def errs(th,b=B,m=M,t=TT):
    k=K(th)
    e=[np.log(bridge.step(r,k)/r.meas) for _,r in b.iterrows()]
    f=[np.log(mcore.chosen(r,k)[0]/mcore.measured(r)) for _,r in m.iterrows()]
    g=[np.log(titan.step(r,k)/titan.measured(r)) for _,r in t.iterrows()]
    return np.array(e),np.array(f),np.array(g)
def fit(b=B,m=M,t=TT,fix={},free=None):
    names=free or list(PR)
    def th(x):
        d={n:PR[n][0] for n in PR}; d.update({n:PR[n][0]*np.exp(v) for n,v in zip(names,x)}); d.update(fix); return d
    def res(x):
        e,f,g=errs(th(x),b,m,t); z=np.concatenate([e,f,g])/.08
        rob=np.sign(z)*np.sqrt(2*(np.sqrt(1+z**2)-1))
        return np.concatenate([rob,[v/PR[n][1] for n,v in zip(names,x)]])
    r=least_squares(res,np.zeros(len(names)),diff_step=.01,max_nfev=8)
    return th(r.x),2*r.cost
def line(n,e):
    e=np.exp(np.asarray(e))-1
    print(f'{n:46s} {len(e):3d} signed {100*e.mean():+6.1f} mean {100*abs(e).mean():5.1f} median {100*np.median(abs(e)):5.1f} worst {100*max(abs(e)):5.1f}')
if __name__=='__main__':
    nom={n:PR[n][0] for n in PR}
    e,f,g=errs(nom); print('nothing fitted (priors)'); line('bridge dense',e); line('mcore h100',f); line('torchtitan',g)
    e,f,g=errs(dict(nom,h=1.,bl=1.,pow=2.,p2p=0,cp=0)); print('hot=1, cubic-free'); line('bridge dense',e); line('mcore h100',f); line('torchtitan',g)
    th,o=fit(); print('in sample',{k:round(v,3) for k,v in th.items()},o); e,f,g=errs(th); line('bridge dense',e); line('mcore h100',f); line('torchtitan',g)
    print(np.round(100*(np.exp(e)-1),1),np.round(100*(np.exp(f)-1),1)); print(np.round(100*(np.exp(g)-1),1))
