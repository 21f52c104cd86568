from fit import *
def loo(fix={},free=None,verbose=True):
    rb=np.zeros(len(B)); rm=np.zeros(len(M)); rt=np.zeros(len(TT)); ths=[]
    for mod in ('8B','70B'):
        b=B[~B.model.str.contains(mod)]; t=TT[~TT.model.str.contains(mod.lower())]
        th,_=fit(b,M,t,fix,free); e,_,_=errs(th); i=B.model.str.contains(mod).values; rb[i]=e[i]; ths.append((mod,th))
    for i in range(len(M)):
        th,_=fit(B,M.drop(M.index[i]),TT,fix,free); _,f,_=errs(th); rm[i]=f[i]; ths.append((M.model[i],th))
    for tech in TT.technique.unique():
        th,_=fit(B,M,TT[TT.technique!=tech],fix,free); _,_,g=errs(th); i=(TT.technique==tech).values; rt[i]=g[i]; ths.append((tech,th))
    import sys
    line('bridge dense, model left out',rb); line('mcore h100, model left out',rm); line('torchtitan, technique left out',rt)
    if verbose:
        print(np.round(100*(np.exp(rb)-1),1)); print(np.round(100*(np.exp(rm)-1),1)); print(np.round(100*(np.exp(rt)-1),1))
        for n,t in ths: print(n,{k:round(float(v),3) for k,v in t.items()})
    return rb,rm,rt
if __name__=='__main__': loo()
