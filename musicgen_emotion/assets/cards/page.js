
const D=JSON.parse(document.getElementById('data').textContent),$=i=>document.getElementById(i),by=new Map(D.features.map(f=>[f.feature,f]));
const el=(t,a={},...k)=>{const e=document.createElement(t);for(const[n,v]of Object.entries(a))n==='class'?e.className=v:e.setAttribute(n,v);e.append(...k.filter(x=>x!==null&&x!==undefined));return e};
const num=(v,d=2)=>v===null||v===undefined?'n/a':Number(v).toFixed(d),pct=v=>(100*v).toFixed(1)+'%',color=e=>D.colors[e]||'#777777',rank=f=>f.flag?1:0;
const text=f=>[f.feature,f.best,f.flag,...f.prompts.map(p=>p.prompt),...f.words.map(w=>w.word),...f.near_words.map(w=>w.word),...f.tokens.flatMap(t=>t.pieces)].join(' ').toLowerCase();
const hay=new Map(D.features.map(f=>[f.feature,text(f)]));let current=null;
function bars(counts,edges,c,name,m){const S='http://www.w3.org/2000/svg',s=document.createElementNS(S,'svg'),n=counts.slice(1),w=100/n.length;
 s.setAttribute('viewBox','0 0 100 34');s.setAttribute('preserveAspectRatio','none');s.setAttribute('role','img');s.setAttribute('aria-label',name+': '+counts[0]+' silent, then '+n.join(', '));
 n.forEach((v,i)=>{const r=document.createElementNS(S,'rect'),h=v?Math.max(1.5,30*v/m):0;for(const[k,x]of Object.entries({x:i*w+.6,y:33-h,width:w-1.2,height:h,fill:c}))r.setAttribute(k,x);
  const t=document.createElementNS(S,'title');t.textContent=num(edges[i])+' to '+num(edges[i+1])+': '+v;r.append(t);s.append(r)});
 const l=document.createElementNS(S,'line');for(const[k,x]of Object.entries({x1:0,x2:100,y1:33.5,y2:33.5,stroke:'currentColor','stroke-opacity':.35}))l.setAttribute(k,x);s.append(l);return s}
function hist(h,edges,colored){const g=el('div',{class:'hist'}),m=Math.max(1,...Object.values(h).flatMap(v=>v.slice(1)));for(const[k,v]of Object.entries(h)){const all=v.reduce((a,b)=>a+b,0);g.append(el('span',{},k),bars(v,edges,colored?color(k):'var(--accent)',k,m),el('span',{},all?pct(1-v[0]/all)+' active':'no rows'))}return g}
const section=(t,...k)=>el('section',{},el('h3',{},t),...k);
function table(head,rows){return el('table',{},el('thead',{},el('tr',{},...head.map((h,i)=>el('th',{scope:'col',class:i?'n':''},h)))),el('tbody',{},...rows.map(r=>el('tr',{},...r.map((c,i)=>el('td',{class:i?'n':''},c))))))}
function tokens(f){return el('ul',{class:'plain tok'},...f.tokens.map(t=>el('li',{},...t.pieces.map((p,i)=>{const s=el('span',{title:num(t.activations[i])},p.replace(/^\u2581/,'')||p);s.style.setProperty('--a',f.largest?Math.min(.85,.85*t.activations[i]/Math.max(...f.tokens.flatMap(x=>x.activations))):0);return s}).flatMap(s=>[s,' ']))))}

function show(id,focus){const f=by.get(id);if(!f)return;current=id;const a=$('card');a.replaceChildren();
 const facts=el('p',{class:'facts'},el('span',{},'selectivity ',el('b',{},num(f.selectivity))),el('span',{},'q ',el('b',{},num(f.q,4))),el('span',{},'fires on ',el('b',{},pct(f.firing_rate))),el('span',{},'largest ',el('b',{},num(f.largest))),f.site?el('span',{},'site ',el('b',{},f.site)):null);
 a.append(el('h2',{tabindex:'-1'},'Feature '+f.feature+': '+(f.best||'dead')+(f.flag?' ('+(f.flag==='highly'?'highly selective':'selective')+')':'')),facts);
 const two=el('div',{class:'two'});two.append(section('Activation by emotion',hist(f.hist_emotion,f.edges,true)));if(Object.keys(f.hist_intensity).length)two.append(section('Activation by intensity',hist(f.hist_intensity,f.edges,false)));
 two.append(section('Selectivity',table(['emotion','selectivity','mean','q'],f.by_emotion.map(e=>[e.emotion,num(e.selectivity),num(e.mean_on,3),num(e.q,4)]))));
 if(f.va.length)two.append(section('Valence and arousal',table(['axis','weight','interval'],f.va.map(v=>[v.axis,num(v.weight),num(v.low)+' to '+num(v.high)]))));
 if(f.prompts.length)two.append(section('Top prompts',el('ol',{},...f.prompts.map(p=>el('li',{},p.prompt+' ',el('span',{class:'a'},num(p.activation)+', '+p.emotion))))));
 if(f.tokens.length)two.append(section('Top tokens',tokens(f)));
 if(f.moments.length)two.append(section('Top moments',el('ol',{},...f.moments.map(m=>el('li',{},m.prompt+' ',el('span',{class:'a'},num(m.activation)+' at '+num(m.seconds)+' s of clip '+m.clip),m.audio?el('div',{},el('audio',{controls:'',preload:'none',src:m.audio,'aria-label':'moment of clip '+m.clip})):null)))));
 const words=(f.words.map(w=>el('span',{class:'chip',title:num(w.mean)},w.word))),near=f.near_words.map(w=>el('span',{class:'chip',title:num(w.cosine)},w.word));
 if(words.length)two.append(section('Words with the largest mean',...words));if(near.length)two.append(section('Words nearest to the direction',...near));
 if(f.near_features.length)two.append(section('Nearest features',...f.near_features.map(n=>by.has(n.feature)?el('a',{class:'chip',href:'#f'+n.feature},n.feature+' ('+num(n.cosine)+')'):el('span',{class:'chip'},n.feature+' ('+num(n.cosine)+')'))));
 a.append(two);for(const b of document.querySelectorAll('#list button'))b.setAttribute('aria-current',b.dataset.f==id);if(focus)a.querySelector('h2').focus()}
function draw(){const q=$('q').value.trim().toLowerCase().split(/\s+/).filter(Boolean),e=$('emotion').value,s=$('sort').value;
 const rows=D.features.filter(f=>(!e||f.best===e)&&q.every(w=>hay.get(f.feature).includes(w))).sort((a,b)=>s==='feature'?a.feature-b.feature:s==='significant'?rank(b)-rank(a)||b.selectivity-a.selectivity||a.feature-b.feature:s==='rare'?a.firing_rate-b.firing_rate||a.feature-b.feature:(b[s]??-1)-(a[s]??-1)||a.feature-b.feature);
 $('list').replaceChildren(...rows.map(f=>{const d=el('span',{class:'dot'});d.style.background=color(f.best);const b=el('button',{type:'button','data-f':f.feature,'aria-current':f.feature===current},d,el('b',{},f.feature+' '+(f.best||'dead')),el('span',{},num(f.selectivity,1)),el('small',{},f.words.map(w=>w.word).join(', ')||(f.prompts[0]||{prompt:'fires nowhere'}).prompt));
  b.onclick=()=>{location.hash='f'+f.feature;show(f.feature,true)};return el('li',{},b)}));
 if(!rows.length)$('list').append(el('li',{class:'none'},'No feature matches.'));$('count').textContent=rows.length+' of '+D.features.length+' features';return rows}
for(const e of D.emotions)$('emotion').append(el('option',{value:e},e));
for(const i of['q','emotion','sort'])$(i).addEventListener('input',draw);$('tools').addEventListener('submit',e=>e.preventDefault());
const hash=()=>{const m=/^#f(\d+)$/.exec(location.hash);if(m)show(+m[1],false);return!!m};addEventListener('hashchange',hash);const first=draw()[0];if(!hash()&&first)show(first.feature,false);
