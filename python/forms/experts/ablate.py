import numpy as np, bridge, fitbridge as fb
from bridge import *
from scipy.optimize import least_squares
def lomo(rs,loss='linear',tag=''):
    def fitx(q):
        y=np.array([meas(r) for r in q])
        def f(u):
            x=fb.PRIOR*np.exp(u); e=np.log([fb.pred(r,x) for r in q]/y)/.15
            if loss=='robust': e=np.sign(e)*np.sqrt(2*(np.sqrt(1+e*e)-1))
            return np.r_[e,u/fb.SD]
        return fb.PRIOR*np.exp(least_squares(f,np.zeros(len(fb.PRIOR))).x)
    out=[]
    for m in M:
        x=fitx([r for r in rs if r['model']!=m]); out+=[fb.pred(r,x)/meas(r)-1 for r in rs if r['model']==m]
    fb.line(tag+' nominal',[fb.pred(r,fb.PRIOR)/meas(r)-1 for r in rs]); fb.line(tag+' left out',out); 
    x=fitx(rs); fb.line(tag+' in sample',[fb.pred(r,x)/meas(r)-1 for r in rs])
    return out
if __name__=='__main__':
    for fix in(0,1):
        rs=rows(fix); lomo(rs,'robust','robust, '+('recipes' if fix else 'csv'))
    rs=rows(1); P0=bridge.parts;R0=bridge.recipe
    def with_parts(tag,ch):
        def p(r):
            o,a=P0(r); ch(r,o,a); return o,a
        bridge.parts=p; fb.parts=p; lomo(rs,'robust',tag); bridge.parts=P0; fb.parts=P0
    def with_recipe(tag,ch):
        def q(r):
            a=R0(r); ch(r,a); return a
        bridge.recipe=q; lomo(rs,'robust',tag); bridge.recipe=R0
    with_recipe('dispatcher by version only',lambda r,a:a.update(disp='flex' if r['rel']>='26.02.01' else 'a2a'))
    with_recipe('dispatcher+overlap+graph by version only',lambda r,a:a.update(disp='flex' if r['rel']>='26.02.01' else 'a2a',ovl=r['vp']>1,graph=float(r['rel']>='26.02.01' and r['g']=='b200_sxm')))
    with_recipe('no overlap',lambda r,a:a.update(ovl=False))
    with_recipe('no graphs',lambda r,a:a.update(graph=0))
    with_recipe('all alltoall',lambda r,a:a.update(disp='a2a'))
    with_recipe('all flex',lambda r,a:a.update(disp='flex'))
    with_parts('no pointwise of pairs',lambda r,o,a:o.update(epoint=0))
    with_parts('no weight traffic',lambda r,o,a:o.update(weights=0))
    with_parts('no exchange',lambda r,o,a:o.update(exchange=0))
    K=dict(bridge.KF)
    for k in K: bridge.KF[k]=0
    lomo(rs,'robust','experts at the dense rate'); bridge.KF.update(K)
    E=dict(bridge.EC)
    for k in E: bridge.EC[k]=E[k[0],'bf16']/(1 if k[1]=='bf16' else 2)
    lomo(rs,'robust','every type at bf16 rate'); bridge.EC.update(E)
    h0=fb.host
    fb.host=lambda x:(lambda r,a,loc:0.)
    lomo(rs,'robust','no gap of launches'); fb.host=h0
