import numpy as np, fitbridge as fb
from bridge import *
from ablate import lomo
for fix in(0,1):
    rs=rows(fix)
    x=np.array([2.4,2.4,1.,1.,1e-9,1e-9,1/.9]); fb.line('nothing fitted: vTrain floor 0.8 ms x 3 passes, none under graphs',[fb.pred(r,x)/meas(r)-1 for r in rs])
    for k in (4.0,4.4,4.8): fb.line(f'launches {k} ms (golden on A100: 3.6 + 1.2 of exchange), rest nominal',[fb.pred(r,np.array([k,k,1,1,.01,.5,1.11]))/meas(r)-1 for r in rs])
    lomo(rs,'robust','robust '+str(fix))
rs=rows(1)
# fewer constants: one kappa for both generations, no pad, no graph constant
P0,S0=fb.PRIOR.copy(),fb.SD.copy()
for tag,idx in (('pad = 1 fixed',[3]),('b fixed',[4]),('prod fixed 1.1',[6]),('pad, b, prod fixed',[3,4,6])):
    fb.SD=S0.copy(); fb.SD[idx]=1e-3; lomo(rs,'robust',tag); fb.SD=S0.copy()
