import os
DATA = os.path.join(os.environ["MESHWRIGHT_DATA"], "data", "")
import pandas as pd, numpy as np
d=pd.read_csv(DATA + 'steptimes/megatron_golden.csv')
d=d[d.iter_s_median>0.3].copy()
for c in 'tp pp cp ep etp micro_batch global_batch layers hidden heads seq experts topk moe_ffn ffn vpp vpp_layers'.split(): d[c]=pd.to_numeric(d[c],errors='coerce')
d['plat']=d.platform.fillna('')
def gen(r):
    p=r.plat
    if 'gb200' in p: return 'gb200'
    if 'h100' in p: return 'h100'
    return 'a100'
d['gen']=d.apply(gen,axis=1); d['one']=d.case.str.contains('_1no')
d['world']=np.where((d.gen=='gb200')&d.one,4,8)
for c in ('tp','pp','cp','ep'): d[c]=d[c].fillna(1)
d['dp']=(d.world/(d.tp*d.pp*d.cp)).clip(lower=1)
d['mb']=d.micro_batch.fillna(1); d['m']=d.global_batch/(d.dp*d.mb); d['Lr']=d.layers/d.pp
d['passes']=d.m*d.Lr
d['moe']=d.experts>0
d['per']=d.iter_s_median/d.passes*1e3
d['det']=~d.case.str.contains('nondeterministic')
if __name__=='__main__':
    print(len(d)); pd.set_option('display.width',250); pd.set_option('display.max_rows',400); pd.set_option('display.max_colwidth',75)
    print(d.groupby(['gen','one','moe'])[['iter_s_median','per']].describe(percentiles=[.1,.5,.9]).round(2).T.to_string())
    d['k']=d.case.str.replace('gpt3_mcore_','').str.replace('resume_torch_dist_','R_')
    print(d[['gen','plat','env','k','tp','pp','cp','ep','m','Lr','iter_s_median','per','global_batch','hidden','layers','seq']].sort_values(['gen','k']).to_string(max_colwidth=70))
