import numpy as np, fitbridge as fb
from bridge import *
from ablate import lomo
fb.PRIOR=np.array([2.4,2.4,1.,1.,.01,.5,1.11])
for sd in (np.array([1,1,1,1,1,1,.1]),np.array([.6,.6,.6,.6,1,.7,.07])):
    fb.SD=sd
    for fix in(0,1):
        rs=rows(fix); lomo(rs,'robust','neutral prior, sd %g, recipes %d'%(sd[0],fix))
